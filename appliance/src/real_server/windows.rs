//! Windows: the VIP on a KM-TEST loopback adapter, and the weak host model on both interfaces. L2 DSR alone.

use control::operator::RealServerFacts;

use super::{host_length, title};

/// The interface of a new Windows host.
const INTERFACE_DEFAULT: &str = "Ethernet";
/// What the loopback adapter is to be called.
const LOOPBACK_DEFAULT: &str = "loopback";

/// The script that sets up, and the one that undoes.
pub(super) fn scripts(
    facts: &RealServerFacts,
    interface: Option<&str>,
    loopback: Option<&str>,
) -> (String, String) {
    let head = |does: &str| {
        format!(
            "#Requires -RunAsAdministrator\n# {does} {}.\n# Written by `jeoul real-server`, for PowerShell 5.1 or later. \
             May be run again.\n$ErrorActionPreference = 'Stop'\n$vip = '{}'\n$interface = '{}'\n$loopback = '{}'\n\
             function Invoke-Netsh {{\n    netsh.exe @args\n    if ($LASTEXITCODE -ne 0) {{ throw \"netsh $args failed\" }}\n}}\n",
            title(facts),
            facts.address,
            interface.unwrap_or(INTERFACE_DEFAULT),
            loopback.unwrap_or(LOOPBACK_DEFAULT),
        )
    };
    let family = if facts.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let set_up = head("Sets this host up as a") + &set_up(facts, family);
    let undo = head("Undoes the set-up of this host as a") + &undo(family);
    (set_up, undo)
}

fn set_up(facts: &RealServerFacts, family: &str) -> String {
    let add = match facts.address.is_ipv4() {
        true => "Invoke-Netsh interface ipv4 add address name=$loopback address=$vip mask=255.255.255.255 \
                 skipassource=true store=persistent"
            .to_owned(),
        false => format!(
            "Invoke-Netsh interface ipv6 add address interface=$loopback address=\"$vip/{}\" skipassource=true \
             store=persistent",
            host_length(facts.address)
        ),
    };
    format!(
        r#"
# 1. The adapter. Windows has its driver; only a person or a driver tool may add the device:
#      run hdwwiz.exe > Next > "Install the hardware that I manually select" > Network adapters >
#      Microsoft > Microsoft KM-TEST Loopback Adapter > Next > Finish
#    or, with devcon.exe of the Windows Driver Kit:
#      devcon.exe install $env:windir\inf\netloop.inf *msloop
$null = Get-NetAdapter -Name $interface
if (-not (Get-NetAdapter -Name $loopback -ErrorAction SilentlyContinue)) {{
    $new = @(Get-NetAdapter | Where-Object InterfaceDescription -like 'Microsoft KM-TEST Loopback Adapter*')
    if ($new.Count -ne 1) {{
        throw "found $($new.Count) KM-TEST loopback adapters; add one as written above, or name it with --loopback"
    }}
    Rename-NetAdapter -Name $new[0].Name -NewName $loopback
}}

# 2. Requests come in on one interface for an address of another (weakhostreceive), and replies leave by the first with
#    the address of the second (weakhostsend). All of this is kept over a restart.
Invoke-Netsh interface {family} set interface $interface weakhostreceive=enabled store=persistent
Invoke-Netsh interface {family} set interface $loopback weakhostreceive=enabled weakhostsend=enabled store=persistent

# 3. The VIP, as one address and no network. Windows answers {ask} only for addresses of the interface that was
#    asked, so that it is silent about this one. skipassource: never the source of what begins here.
if (-not (Get-NetIPAddress -IPAddress $vip -ErrorAction SilentlyContinue)) {{
    {add}
}}

# 4. Whether it took: "Weak Host Receives" enabled twice, "Weak Host Sends" once, and the VIP with SkipAsSource True.
netsh.exe interface {family} show interface $interface
netsh.exe interface {family} show interface $loopback
Get-NetIPAddress -IPAddress $vip | Format-List IPAddress, PrefixLength, InterfaceAlias, SkipAsSource
exit 0
"#,
        ask = if facts.address.is_ipv4() { "ARP" } else { "neighbour solicitations" },
    )
}

fn undo(family: &str) -> String {
    let delete = match family {
        "ipv4" => "Invoke-Netsh interface ipv4 delete address name=$loopback address=$vip store=persistent",
        _ => "Invoke-Netsh interface ipv6 delete address interface=$loopback address=$vip store=persistent",
    };
    let family_name = if family == "ipv4" { "IPv4" } else { "IPv6" };
    format!(
        r#"
# 1. The VIP.
if (Get-NetIPAddress -IPAddress $vip -ErrorAction SilentlyContinue) {{
    {delete}
}}

# 2. The strong host model, unless the loopback adapter has VIPs of other services. 127.0.0.1 and ::1 are elsewhere.
$others = @(Get-NetIPAddress -InterfaceAlias $loopback -AddressFamily {family_name} -ErrorAction SilentlyContinue |
    Where-Object {{ $_.PrefixOrigin -eq 'Manual' }})
if ($others.Count -eq 0) {{
    Invoke-Netsh interface {family} set interface $interface weakhostreceive=disabled store=persistent
    Invoke-Netsh interface {family} set interface $loopback weakhostreceive=disabled weakhostsend=disabled store=persistent
}}

# 3. The adapter stays. To remove it: Device Manager > Network adapters > Microsoft KM-TEST Loopback Adapter > Uninstall
netsh.exe interface {family} show interface $interface
exit 0
"#
    )
}
