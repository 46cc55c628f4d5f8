//! The little of `bpf(2)` that steering needs: maps, programs, links, and an assembler for the programs.
//!
//! Control thread only. Programs are assembled here instruction by instruction, so neither a compiler for the
//! kernel's machine nor an object format is needed. Refuses nothing itself; the kernel's verifier does.

mod assembler;
mod call;
mod link;
mod map;
mod program;

pub(crate) use assembler::{Assembler, Comparison, Instruction, Label, Register, Width};
pub(crate) use link::{Hook, Link};
pub(crate) use map::{Map, MapKind};
pub(crate) use program::{Program, ProgramKind};
