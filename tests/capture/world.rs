//! Namespaces, and commands in them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// Runs something in a network namespace of its own, with its loopback up.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("cannot make a network namespace: root is needed");
            run("ip", &["link", "set", "lo", "up"]);
            work()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A namespace to come back to.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        apart(|| Self(File::open("/proc/thread-self/ns/net").unwrap()))
    }

    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// For `ip link set .. netns`.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// A client and a server, and a router between them: 10.9.1.2 - 10.9.1.1, 10.9.2.1 - 10.9.2.2.
pub(crate) struct Routed {
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
}

impl Routed {
    pub(crate) fn new() -> Self {
        let all = Self {
            client: Namespace::new(),
            router: Namespace::new(),
            server: Namespace::new(),
        };
        for (host, device, net) in [(&all.client, "c0", 1), (&all.server, "s0", 2)] {
            let (ours, its) = (format!("10.9.{net}.1"), format!("10.9.{net}.2"));
            all.router.enter(|| {
                let peer = ["type", "veth", "peer", "name", "e0", "netns"];
                let path = host.path();
                let link = ["link", "add", "name", device];
                run("ip", &[&link[..], &peer, &[&path]].concat());
                run("ip", &["addr", "add", &format!("{ours}/24"), "dev", device]);
                run("ip", &["link", "set", device, "up"]);
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            });
            host.enter(|| {
                run("ip", &["addr", "add", &format!("{its}/24"), "dev", "e0"]);
                run("ip", &["link", "set", "e0", "up"]);
                run("ip", &["route", "add", "default", "via", &ours]);
            });
        }
        all
    }
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Loads rules.
pub(crate) fn rules(text: &str) {
    run("nft", &[text]);
}

/// Loads rules that not every kernel has what it takes for; whether this one has.
pub(crate) fn rules_if_built_in(text: &str) -> bool {
    let output = Command::new("nft").arg(text).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // What nf_tables says of an expression or object that it has no module for.
    let absent = said.contains("No such file or directory") || said.contains("not supported");
    assert!(output.status.success() || absent, "nft {text}: {said}");
    output.status.success()
}

/// Writes a setting of conntrack's.
pub(crate) fn set(name: &str, value: &str) {
    let path = format!("/proc/sys/net/netfilter/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}
