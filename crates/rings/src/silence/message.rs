//! The nfnetlink messages of which a table is made, as bytes. Pure; all numbers from
//! linux/netfilter/nf_tables.h.

/// Elements in one message at the most: an attribute's length has 16 bits, and an element up to 28 bytes.
pub(super) const ELEMENTS_MAX: usize = 2_000;

/// `NF_DROP` and `NF_ACCEPT`.
pub(super) const VERDICT_DROP: u32 = 0;
pub(super) const VERDICT_ACCEPT: u32 = 1;

const SUBSYSTEM_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_SET_ELEMENT: u16 = 12;
const DELETE_SET_ELEMENT: u16 = 14;

const FAMILY_NETDEV: u8 = libc::NFPROTO_NETDEV as u8;
const TABLE_OWNER: u32 = 2;
const HOOK_INGRESS: u32 = 0;
/// Where nft puts a filter chain.
const PRIORITY_FILTER: u32 = 0;
/// How `nft list` shows keys: its own numbers for addresses.
const KEY_TYPE_IPV4: u32 = 7;
const KEY_TYPE_IPV6: u32 = 8;

const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;
const META_PROTOCOL: u32 = 1;
const BASE_NETWORK_HEADER: u32 = 1;
const EQUAL: u32 = 0;

/// One condition of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Match {
    /// The frame's EtherType.
    Protocol(u16),
    /// The address of `bytes` at `offset` is in `set`.
    Within { offset: u32, bytes: u32, set: &'static str },
    /// The byte at `offset`, under `mask`, is `value`.
    Byte { offset: u32, mask: u8, value: u8 },
    /// The IPv4 address at `offset` is 255.255.255.255.
    Broadcast { offset: u32 },
}

/// Attributes one behind the other (`struct nlattr`).
#[derive(Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | libc::NLA_F_NESTED as u16, &inner.0)
    }
}

fn attributes() -> Attributes {
    Attributes::default()
}

/// One message of a batch.
pub(super) struct Message {
    kind: u16,
    flags: u16,
    attributes: Attributes,
}

impl Message {
    fn new(kind: u16, flags: libc::c_int, attributes: Attributes) -> Self {
        Self { kind, flags: flags as u16, attributes }
    }

    /// A table that goes with the socket that sends this.
    pub(super) fn new_table(table: &str) -> Self {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        Self::new(NEW_TABLE, flags, attributes().text(1, table).number(2, TABLE_OWNER))
    }

    /// A table's end, with all that is in it.
    pub(super) fn delete_table(table: &str) -> Self {
        Self::new(DELETE_TABLE, 0, attributes().text(1, table))
    }

    /// A base chain at ingress of `device` that accepts what no rule decides.
    pub(super) fn new_ingress_chain(table: &str, chain: &str, device: &str) -> Self {
        let hook = attributes().number(1, HOOK_INGRESS).number(2, PRIORITY_FILTER).text(3, device);
        let chain = attributes().text(1, table).text(3, chain).nest(4, hook);
        let chain = chain.number(5, VERDICT_ACCEPT).text(7, "filter");
        Self::new(NEW_CHAIN, libc::NLM_F_CREATE, chain)
    }

    /// A chain's end, with its rules.
    pub(super) fn delete_chain(table: &str, chain: &str) -> Self {
        Self::new(DELETE_CHAIN, 0, attributes().text(1, table).text(3, chain))
    }

    /// An empty set of addresses of `key_bytes`.
    pub(super) fn new_set(table: &str, set: &str, number: u32, key_bytes: usize) -> Self {
        let kind = if key_bytes == 4 { KEY_TYPE_IPV4 } else { KEY_TYPE_IPV6 };
        let set = attributes().text(1, table).text(2, set).number(4, kind);
        let set = set.number(5, key_bytes as u32).number(10, number);
        Self::new(NEW_SET, libc::NLM_F_CREATE, set)
    }

    /// Puts at most [`ELEMENTS_MAX`] keys into a set.
    pub(super) fn add_elements(table: &str, set: &str, keys: &[Vec<u8>]) -> Self {
        let element = |elements: Attributes, key: &Vec<u8>| {
            elements.nest(1, attributes().nest(1, attributes().bytes(1, key)))
        };
        let elements = keys.iter().fold(attributes(), element);
        let elements = attributes().text(1, table).text(2, set).nest(3, elements);
        Self::new(NEW_SET_ELEMENT, libc::NLM_F_CREATE, elements)
    }

    /// Takes every key out of a set.
    pub(super) fn flush_set(table: &str, set: &str) -> Self {
        Self::new(DELETE_SET_ELEMENT, 0, attributes().text(1, table).text(2, set))
    }

    /// A rule behind all others: where all of `matches` hold, `verdict`.
    pub(super) fn new_rule(table: &str, chain: &str, matches: &[Match], verdict: u32) -> Self {
        let list = matches.iter().fold(attributes(), |list, condition| condition.append(list));
        let verdict = attributes().nest(2, attributes().number(1, verdict));
        let list = expression(list, "immediate", attributes().number(1, REGISTER_VERDICT).nest(2, verdict));
        let rule = attributes().text(1, table).text(2, chain).nest(4, list);
        Self::new(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, rule)
    }
}

impl Match {
    fn append(self, list: Attributes) -> Attributes {
        match self {
            Self::Protocol(protocol) => {
                let load = attributes().number(1, REGISTER_1).number(2, META_PROTOCOL);
                compare(expression(list, "meta", load), &protocol.to_be_bytes())
            }
            Self::Within { offset, bytes, set } => {
                let look = attributes().text(1, set).number(2, REGISTER_1);
                expression(load(list, offset, bytes), "lookup", look)
            }
            Self::Byte { offset, mask, value } => {
                let data = |byte| attributes().bytes(1, &[byte]);
                let and = attributes().number(1, REGISTER_1).number(2, REGISTER_1).number(3, 1);
                let and = and.nest(4, data(mask)).nest(5, data(0));
                compare(expression(load(list, offset, 1), "bitwise", and), &[value])
            }
            Self::Broadcast { offset } => compare(load(list, offset, 4), &[0xff; 4]),
        }
    }
}

fn expression(list: Attributes, name: &str, data: Attributes) -> Attributes {
    list.nest(1, attributes().text(1, name).nest(2, data))
}

/// Loads bytes at an offset from the network header.
fn load(list: Attributes, offset: u32, bytes: u32) -> Attributes {
    let place = attributes().number(1, REGISTER_1).number(2, BASE_NETWORK_HEADER);
    expression(list, "payload", place.number(3, offset).number(4, bytes))
}

fn compare(list: Attributes, value: &[u8]) -> Attributes {
    let value = attributes().bytes(1, value);
    expression(list, "cmp", attributes().number(1, REGISTER_1).number(2, EQUAL).nest(3, value))
}

/// Messages that take effect together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), count: 0 };
        batch.message(BATCH_BEGIN, 0, libc::AF_UNSPEC as u8, SUBSYSTEM_NFTABLES, &[]);
        batch
    }

    pub(super) fn push(&mut self, message: Message) {
        let kind = SUBSYSTEM_NFTABLES << 8 | message.kind;
        self.message(kind, message.flags, FAMILY_NETDEV, 0, &message.attributes.0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.message(BATCH_END, 0, libc::AF_UNSPEC as u8, SUBSYSTEM_NFTABLES, &[]);
        self.bytes
    }

    /// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        self.count += 1;
        self.bytes.extend((20 + attributes.len() as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }
}

/// The error number in the kernel's answer, if it is one: `struct nlmsghdr`, then `struct nlmsgerr`.
pub(super) fn refusal(reply: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(*reply.get(4..)?.first_chunk()?);
    let error = i32::from_ne_bytes(*reply.get(16..)?.first_chunk()?);
    (i32::from(kind) == libc::NLMSG_ERROR && error != 0).then_some(-error)
}
