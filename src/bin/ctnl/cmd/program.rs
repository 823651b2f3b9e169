//! Which program has a netlink port.

use std::fs;
use std::io::Read;

/// What is printed after an event that a program caused.
pub(super) struct Programs {
    /// The table of sockets is another namespace's.
    elsewhere: bool,
    last: Option<(u32, String)>,
}

const NETLINK_NETFILTER: u32 = 12;

impl Programs {
    pub(super) fn new(elsewhere: bool) -> Self {
        Self {
            elsewhere,
            last: None,
        }
    }

    /// ` [USERSPACE] portid=PORT progname=NAME`, without the name where it cannot be found.
    pub(super) fn of(&mut self, port: u32) -> String {
        if let Some((_, said)) = self.last.as_ref().filter(|(last, _)| *last == port) {
            return said.clone();
        }
        let name = if self.elsewhere { None } else { name_of(port) };
        let said = match name {
            Some(name) => format!(
                " [USERSPACE] portid={port} progname={}",
                name.escape_default()
            ),
            None => format!(" [USERSPACE] portid={port}"),
        };
        self.last = Some((port, said.clone()));
        said
    }
}

/// By the socket's inode, which the descriptors of its process link to.
fn name_of(port: u32) -> Option<String> {
    let inode = inode_of(&fs::read_to_string("/proc/net/netlink").ok()?, port)?;
    let link = format!("socket:[{inode}]");
    // Most take the number of their process for the first port.
    let first = Some(port).into_iter();
    let others = fs::read_dir("/proc")
        .ok()?
        .filter_map(|item| item.ok()?.file_name().to_str()?.parse().ok());
    let process = first.chain(others).find(|process| holds(*process, &link))?;
    let mut name = String::new();
    fs::File::open(format!("/proc/{process}/comm"))
        .ok()?
        .take(64)
        .read_to_string(&mut name)
        .ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

fn holds(process: u32, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|item| fs::read_link(item.path()).is_ok_and(|target| target.as_os_str() == link))
}

/// The inode of the socket of the netfilter protocol with this port.
fn inode_of(table: &str, port: u32) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u32>().ok();
        if number(1)? != NETLINK_NETFILTER || number(2)? != port {
            return None;
        }
        words.get(9)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_protocol_and_port() {
        let table = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                     0000000000000000 0   77         00000000 0        0        0     2        0        1\n\
                     0000000000000000 12  77         00000000 0        0        0     2        0        4711\n";
        assert_eq!(inode_of(table, 77), Some(4711));
        assert_eq!(inode_of(table, 78), None);
        assert_eq!(inode_of("", 77), None);
    }
}
