//! The secret of the flow hash: from the file, or made once and kept in the state directory.

use config::Config;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE_NAME: &str = "hash_key";

/// The key; makes and stores one when there is none.
pub fn load_or_make(config: &Config) -> io::Result<[u8; 16]> {
    if let Some(key) = &config.appliance.hash_key {
        return Ok(*key.bytes());
    }
    let directory = &config.appliance.state_directory;
    let path = directory.join(FILE_NAME);
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory).map_err(explain)?;
            make(&path).map_err(explain)
        }
        outcome => outcome.map_err(explain),
    }
}

fn read(path: &Path) -> io::Result<[u8; 16]> {
    let text = fs::read_to_string(path)?;
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "is no key of 32 hex digits; remove it to have a new one made",
        )
    };
    let digits = text.trim();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut key = [0; 16];
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).map_err(|_| wrong())?;
    }
    Ok(key)
}

/// Written under another name first, so that a crash leaves no half key.
fn make(path: &Path) -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{digits}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path) -> Config {
        let text = format!(
            "[appliance]\nstate_directory = \"{}\"\n[[port]]\nname = \"a\"\ninterface = \"eth1\"\n",
            directory.display()
        );
        config::parse(&text, "test.toml").config.unwrap()
    }

    #[test]
    fn a_key_is_made_once_kept_secret_and_read_again() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("jeoul-hash-key-{}", std::process::id()));
        let config = config(&directory);
        let first = load_or_make(&config).unwrap();
        assert_eq!(load_or_make(&config).unwrap(), first);
        let path = directory.join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "not a key").unwrap();
        let refusal = load_or_make(&config).unwrap_err().to_string();
        fs::remove_dir_all(&directory).unwrap();
        assert!(refusal.contains("no key of 32 hex digits"), "{refusal}");
    }
}
