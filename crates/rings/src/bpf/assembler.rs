//! An assembler for the kernel's BPF machine (RFC 9669), with labels that are resolved at the end.
//!
//! Only the instructions that the programs of this crate use. Every jump goes forward, so a program that assembles also ends.

use super::Map;
use std::os::fd::AsRawFd;

/// One instruction as the kernel takes it (RFC 9669, section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    opcode: u8,
    /// Destination in the low nibble, source in the high one (little-endian hosts).
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The machine's registers: `R0` result, `R1`–`R4` arguments (lost in a call), `R6`–`R9` kept, `Frame` the
/// stack's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub(crate) enum Register {
    R0 = 0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    Frame,
}

/// How many bytes a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    /// Four bytes.
    Word = 0x00,
    /// Two bytes.
    Half = 0x08,
    /// One byte.
    Byte = 0x10,
    /// Eight bytes.
    Double = 0x18,
}

/// When a conditional jump is taken. All compare the low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Comparison {
    /// The two are equal.
    Equal = 0x10,
    /// They have a bit in common.
    AnyBit = 0x40,
    /// They differ.
    NotEqual = 0x50,
}

/// A place in the program that jumps may name before it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

const LOAD_DOUBLE_IMMEDIATE: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_IMMEDIATE: u8 = 0x62;
const STORE: u8 = 0x63;
const JUMP: u8 = 0x05;
const JUMP_32: u8 = 0x06;
const JUMP_EQUAL_64: u8 = 0x15;
const JUMP_ABOVE_REGISTER_64: u8 = 0x2d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ADD_IMMEDIATE: u8 = 0x07;
const AND_IMMEDIATE: u8 = 0x57;
const ADD_REGISTER: u8 = 0x0f;
const ADD_IMMEDIATE_32: u8 = 0x04;
const DIVIDE_IMMEDIATE: u8 = 0x37;
const MODULO_IMMEDIATE: u8 = 0x97;
const SHIFT_RIGHT_IMMEDIATE: u8 = 0x77;
const XOR_IMMEDIATE: u8 = 0xa7;
const MOVE_32: u8 = 0xbc;
const TO_BIG_ENDIAN: u8 = 0xdc;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE: u8 = 0xbf;
/// Source bit of jumps: compare with a register instead of the immediate.
const FROM_REGISTER: u8 = 0x08;
/// Source register values of the 16-byte load that name a map, or the first value of an array map.
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

/// A program in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label is bound.
    labels: Vec<Option<usize>>,
    /// Jumps whose distance is still open.
    open: Vec<(usize, Label)>,
}

impl Assembler {
    fn emit(&mut self, opcode: u8, destination: Register, source: u8, offset: i16, immediate: i32) {
        let registers = destination as u8 | source << 4;
        self.instructions.push(Instruction { opcode, registers, offset, immediate });
    }

    /// A new label, to be bound once.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds `label` to the next instruction.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// `destination = source`
    pub fn copy(&mut self, destination: Register, source: Register) {
        self.emit(MOVE, destination, source as u8, 0, 0);
    }

    /// `destination = value`
    pub fn set(&mut self, destination: Register, value: i32) {
        self.emit(MOVE_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination += value`
    pub fn add(&mut self, destination: Register, value: i32) {
        self.emit(ADD_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination &= value`
    pub fn and(&mut self, destination: Register, value: i32) {
        self.emit(AND_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination += source`
    pub fn add_register(&mut self, destination: Register, source: Register) {
        self.emit(ADD_REGISTER, destination, source as u8, 0, 0);
    }

    /// Turns the low 16 bits of `register` from network to host byte order, or back, and clears the rest.
    pub fn swap_network_half(&mut self, register: Register) {
        self.emit(TO_BIG_ENDIAN, register, 0, 0, 16);
    }

    /// Turns the low bytes of `register`, as many as `width` says, from host to network byte order, or back,
    /// and clears the rest. A single byte has no order.
    pub fn swap_network(&mut self, width: Width, register: Register) {
        let bits = match width {
            Width::Byte => return,
            Width::Half => 16,
            Width::Word => 32,
            Width::Double => 64,
        };
        self.emit(TO_BIG_ENDIAN, register, 0, 0, bits);
    }

    /// `destination = the low 32 bits of source`
    pub fn copy_low(&mut self, destination: Register, source: Register) {
        self.emit(MOVE_32, destination, source as u8, 0, 0);
    }

    /// `destination = the low 32 bits of destination + value`
    pub fn add_low(&mut self, destination: Register, value: u32) {
        self.emit(ADD_IMMEDIATE_32, destination, 0, 0, value as i32);
    }

    /// `destination /= value`, unsigned; zero is refused by the verifier.
    pub fn divide(&mut self, destination: Register, value: i32) {
        self.emit(DIVIDE_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination %= value`, unsigned; zero is refused by the verifier.
    pub fn modulo(&mut self, destination: Register, value: i32) {
        self.emit(MODULO_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination >>= bits`
    pub fn shift_right(&mut self, destination: Register, bits: i32) {
        self.emit(SHIFT_RIGHT_IMMEDIATE, destination, 0, 0, bits);
    }

    /// `destination ^= value`
    pub fn xor(&mut self, destination: Register, value: i32) {
        self.emit(XOR_IMMEDIATE, destination, 0, 0, value);
    }

    /// `destination = base[offset]`
    pub fn load(&mut self, width: Width, destination: Register, base: Register, offset: i16) {
        self.emit(LOAD | width as u8, destination, base as u8, offset, 0);
    }

    /// `base[offset] = source`
    pub fn store(&mut self, width: Width, base: Register, offset: i16, source: Register) {
        self.emit(STORE | width as u8, base, source as u8, offset, 0);
    }

    /// `base[offset] = value`
    pub fn store_value(&mut self, width: Width, base: Register, offset: i16, value: i32) {
        self.emit(STORE_IMMEDIATE | width as u8, base, 0, offset, value);
    }

    /// Goes to `target`.
    pub fn jump(&mut self, target: Label) {
        self.open.push((self.instructions.len(), target));
        self.emit(JUMP, Register::R0, 0, 0, 0);
    }

    /// Goes to `target` when the low 32 bits of `register` compare so with `value`.
    pub fn jump_if(&mut self, register: Register, comparison: Comparison, value: i32, target: Label) {
        self.open.push((self.instructions.len(), target));
        self.emit(JUMP_32 | comparison as u8, register, 0, 0, value);
    }

    /// Goes to `target` when the low 32 bits of the two registers compare so.
    pub fn jump_if_registers(
        &mut self,
        register: Register,
        comparison: Comparison,
        other: Register,
        target: Label,
    ) {
        self.open.push((self.instructions.len(), target));
        self.emit(JUMP_32 | comparison as u8 | FROM_REGISTER, register, other as u8, 0, 0);
    }

    /// Goes to `target` when the whole of `register` is above the whole of `other`: for ends of packets.
    pub fn jump_if_above(&mut self, register: Register, other: Register, target: Label) {
        self.open.push((self.instructions.len(), target));
        self.emit(JUMP_ABOVE_REGISTER_64, register, other as u8, 0, 0);
    }

    /// Goes to `target` when the pointer in `register` is null.
    pub fn jump_if_null(&mut self, register: Register, target: Label) {
        self.open.push((self.instructions.len(), target));
        self.emit(JUMP_EQUAL_64, register, 0, 0, 0);
    }

    /// `destination = map`, to be handed to a helper.
    pub fn map(&mut self, destination: Register, map: &Map) {
        self.load_map(destination, PSEUDO_MAP_FD, map);
    }

    /// `destination = address of the first value of map`, which must be an array.
    pub fn map_value(&mut self, destination: Register, map: &Map) {
        self.load_map(destination, PSEUDO_MAP_VALUE, map);
    }

    fn load_map(&mut self, destination: Register, pseudo_source: u8, map: &Map) {
        self.emit(LOAD_DOUBLE_IMMEDIATE, destination, pseudo_source, 0, map.fd().as_raw_fd());
        self.emit(0, Register::R0, 0, 0, 0);
    }

    /// Calls the kernel's helper with this number.
    pub fn call(&mut self, helper: i32) {
        self.emit(CALL, Register::R0, 0, 0, helper);
    }

    /// Ends the program with the verdict in `R0`.
    pub fn exit(&mut self) {
        self.emit(EXIT, Register::R0, 0, 0, 0);
    }

    /// The instructions with every jump resolved.
    ///
    /// # Panics
    ///
    /// When a jump names a label that was never bound, lies behind it or is out of reach: a mistake in a
    /// program that has no inputs, so the first test finds it.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.open {
            let target = self.labels[label.0].unwrap_or_else(|| panic!("{label:?} is not bound"));
            let distance = target.checked_sub(at + 1).and_then(|distance| i16::try_from(distance).ok());
            self.instructions[at].offset =
                distance.unwrap_or_else(|| panic!("{label:?} is not ahead of instruction {at}"));
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_counts_from_the_instruction_after_it() {
        let mut assembler = Assembler::default();
        let end = assembler.label();
        assembler.jump_if(Register::R1, Comparison::Equal, 7, end);
        assembler.set(Register::R0, 1);
        assembler.bind(end);
        assembler.exit();
        let program = assembler.finish();
        assert_eq!(program[0], Instruction { opcode: 0x16, registers: 1, offset: 1, immediate: 7 });
        assert_eq!(program[1], Instruction { opcode: 0xb7, registers: 0, offset: 0, immediate: 1 });
        assert_eq!(program[2], Instruction { opcode: 0x95, registers: 0, offset: 0, immediate: 0 });
    }

    #[test]
    #[should_panic(expected = "is not ahead")]
    fn a_loop_is_refused() {
        let mut assembler = Assembler::default();
        let start = assembler.label();
        assembler.bind(start);
        assembler.jump(start);
        assembler.finish();
    }
}
