//! Why a frame is not parsed any further.

use core::fmt;

macro_rules! refusals {
    ($($variant:ident $name:literal $sentence:literal;)*) => {
        /// Why a header was not accepted, one variant per cause. The frame is dropped and the cause counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Refusal {
            $(#[doc = concat!($sentence, ".")] $variant,)*
        }

        impl Refusal {
            /// Every cause, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the cause, and of its drop counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

refusals! {
    EthernetTruncated "ethernet-truncated" "the frame ends within the Ethernet header";
    VlanTruncated "vlan-truncated" "the frame ends within a VLAN tag";
    VlanTooDeep "vlan-too-deep" "the frame carries more than two VLAN tags";
    ArpTruncated "arp-truncated" "the frame ends within the ARP message";
    ArpUnsupported "arp-unsupported" "the ARP message is not for IPv4 over Ethernet";
    Ipv4Truncated "ipv4-truncated" "the frame ends within the IPv4 header";
    Ipv4Version "ipv4-version" "the version of the IPv4 header is not 4";
    Ipv4HeaderLength "ipv4-header-length" "the IPv4 header length is below 20 bytes or past the frame";
    Ipv4TotalLength "ipv4-total-length" "the IPv4 total length is below the header's or past the frame";
    Ipv4Checksum "ipv4-checksum" "the IPv4 header checksum is wrong";
    Ipv6Truncated "ipv6-truncated" "the frame ends within the IPv6 header";
    Ipv6Version "ipv6-version" "the version of the IPv6 header is not 6";
    Ipv6PayloadLength "ipv6-payload-length" "the IPv6 payload length is past the frame, or a jumbogram's";
    Ipv6ExtensionTruncated "ipv6-extension-truncated" "the packet ends within an IPv6 extension header";
    Ipv6ExtensionTooMany "ipv6-extension-too-many" "more than 8 extension headers, or 512 bytes of them";
    Ipv6HopByHopNotFirst "ipv6-hop-by-hop-not-first" "hop-by-hop options are not the first extension header";
    Ipv6RoutingHeader "ipv6-routing-header" "an IPv6 routing header has segments left";
    Ipv6FragmentRepeated "ipv6-fragment-repeated" "the packet carries a second IPv6 fragment header";
    TcpTruncated "tcp-truncated" "the packet ends within the TCP header";
    TcpDataOffset "tcp-data-offset" "the TCP data offset is below 20 bytes or past the packet";
    UdpTruncated "udp-truncated" "the packet ends within the UDP header";
    UdpLength "udp-length" "the UDP length is below 8 bytes or past the packet";
    IcmpTruncated "icmp-truncated" "the packet ends within the ICMP header";
    FragmentTiny "fragment-tiny" "a fragment hides or overlays a transport header";
    FragmentUneven "fragment-uneven" "a fragment before the last one does not end at a multiple of 8 bytes";
    FragmentPastEnd "fragment-past-end" "a fragment ends past 65,535 bytes";
    QuoteTruncated "quote-truncated" "the packet that an ICMP error quotes ends within its headers";
    QuoteMalformed "quote-malformed" "the packet that an ICMP error quotes has no IP header that fits it";
    QuoteFragment "quote-fragment" "the packet that an ICMP error quotes is a later fragment";
    NdTruncated "nd-truncated" "the packet ends within the neighbour discovery message";
    NdType "nd-type" "the message is neither a neighbour solicitation nor an advertisement";
    NdHopLimit "nd-hop-limit" "the hop limit of a neighbour discovery message is not 255";
    NdCode "nd-code" "the code of a neighbour discovery message is not 0";
    NdChecksum "nd-checksum" "the checksum of a neighbour discovery message is wrong";
    NdTarget "nd-target" "the target of a neighbour discovery message is multicast";
    NdSource "nd-source" "the source of a neighbour discovery message does not fit the message";
    NdSolicited "nd-solicited" "a neighbour advertisement to a multicast address says that it was solicited";
    NdOption "nd-option" "an option of a neighbour discovery message has a wrong length or a multicast MAC";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use std::collections::HashSet;

    #[test]
    fn numbers_are_places_and_names_are_unique_words_in_kebab_case() {
        let mut names = HashSet::new();
        for (place, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, place);
            assert!(names.insert(refusal.name()), "{} twice", refusal.name());
            assert!(
                refusal.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn a_name_is_its_variant_in_kebab_case() {
        for refusal in Refusal::ALL {
            let mut kebab = String::new();
            for letter in format!("{refusal:?}").chars() {
                if letter.is_ascii_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.push(letter.to_ascii_lowercase());
            }
            assert_eq!(refusal.name(), kebab);
        }
    }
}
