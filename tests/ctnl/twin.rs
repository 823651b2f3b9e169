//! A network namespace with the same table as its twin, and a thread that lives in it.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ctnetlink::{
    Conntrack, Entry, Events, Expectation, Filter, LabelNames, NewEntry, Update, Zone,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::base::{self, Base};
use crate::spawn::{self, Outcome, PATIENCE, Program};

type Job = Box<dyn FnOnce(&mut Inside) + Send>;

/// A thread of its own in namespaces of its own.
pub(crate) struct Twin {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Twin {
    pub(crate) fn new() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            let mut inside = Inside::enter();
            for job in work {
                job(&mut inside);
            }
        });
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    /// Does it there; what comes of it is received.
    fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (tell, told) = mpsc::channel();
        let job = move |inside: &mut Inside| drop(tell.send(job(inside)));
        // A thread that has panicked has said why; receiving fails then.
        drop(self.jobs.as_ref().unwrap().send(Box::new(job)));
        told
    }

    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> T {
        self.start(job).recv().expect("the twin's thread panicked")
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        drop(self.jobs.take());
        drop(self.thread.take().unwrap().join());
    }
}

/// Does the same in both at once.
pub(crate) fn both<T: Send + 'static>(
    twins: &[Twin; 2],
    job: impl Fn(&mut Inside, usize) -> T + Clone + Send + 'static,
) -> [T; 2] {
    let started = [0, 1].map(|which| {
        let job = job.clone();
        twins[which].start(move |inside| job(inside, which))
    });
    started.map(|told| told.recv().expect("a twin's thread panicked"))
}

/// What an entry is found by.
pub(crate) type Flow = String;

/// A table without what differs between twins (ids) or runs on (time-outs), which are beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<Flow, (String, Option<u64>)>,
    pub(crate) expectations: Vec<String>,
}

/// What a thread has in its namespaces.
pub(crate) struct Inside {
    pub(crate) ct: Conntrack,
    heard: Events,
    base: Vec<NewEntry>,
}

impl Inside {
    fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("no namespaces: run the tests as root or under `unshare -Urn`");
        own_etc();
        let rules = "table inet l { chain c { ct label set 1; }; }";
        run("nft", &[rules]);
        for (name, value) in [("acct", "1"), ("timestamp", "1"), ("events", "1")] {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            std::fs::write(path, value).unwrap();
        }
        let ct = Conntrack::open().unwrap();
        let heard = ct.events().open().unwrap();
        Self {
            ct,
            heard,
            base: Vec::new(),
        }
    }

    /// Fills the table for the first time, and gives it.
    pub(crate) fn fill(&mut self, base: Base) -> Table {
        for new in base::entries(base) {
            match self.ct.create(&new) {
                Ok(()) => self.base.push(new),
                // This kernel does not track it by its ports.
                Err(error) => assert!(error.is_unsupported(), "{error}: {new:?}"),
            }
        }
        self.expect();
        self.has_changed();
        self.table()
    }

    fn expect(&self) {
        for new in base::expectations() {
            self.ct.expectations().create(&new).unwrap();
        }
    }

    /// Whether anything happened to the table since this was asked last.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut any = false;
        while self.heard.try_next().unwrap().is_some() {
            any = true;
        }
        any
    }

    pub(crate) fn table(&self) -> Table {
        let entries = list(&self.ct);
        let mut expectations: Vec<_> = expectations(&self.ct).iter().map(expected).collect();
        expectations.sort();
        Table {
            entries: entries.iter().map(|one| (flow(one), told(one))).collect(),
            expectations,
        }
    }

    /// Puts these flows back to what they were, and removes whatever was not there.
    pub(crate) fn restore(&mut self, changed: &[Flow], expectations: bool) {
        let known: Vec<_> = self.base.iter().map(|new| flow(new.entry())).collect();
        for entry in list(&self.ct) {
            let flow = flow(&entry);
            if changed.contains(&flow) || !known.contains(&flow) {
                let gone = self.ct.delete(&entry);
                assert!(gone.is_ok() || gone.unwrap_err().is_not_found());
            }
        }
        for (new, flow) in self.base.iter().zip(&known) {
            if changed.contains(flow) {
                let made = self.ct.create(new);
                made.unwrap_or_else(|error| panic!("{flow}: {error}"));
            }
        }
        if expectations {
            self.ct.expectations().flush_all().unwrap();
            self.expect();
        }
        self.has_changed();
    }

    /// Runs a program to its end.
    pub(crate) fn outcome(program: &Program, args: &[String], input: &str) -> Outcome {
        spawn::finish(spawn::start(program, args), input)
    }

    /// Runs a program that may listen to events: if it does, lets the same things happen and ends it
    /// as Ctrl-C does.
    pub(crate) fn listening(&mut self, program: &Program, args: &[String]) -> Outcome {
        let before = groups();
        let mut child = spawn::start(program, args);
        drop(child.stdin.take());
        let until = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            let new = groups()
                .into_iter()
                .find(|(inode, _)| !before.contains_key(inode));
            // Groups may be joined one by one; when all are, it waits.
            let waits = new.is_some() && new == last && spawn::sleeps(&child);
            last = new;
            if let Some((inode, _)) = new.filter(|_| waits) {
                self.let_things_happen();
                // All of it was read, and what was read was dealt with.
                while Instant::now() < until && child.try_wait().unwrap().is_none() {
                    let unread = groups().get(&inode).map(|socket| socket.unread);
                    if unread == Some(0) && spawn::sleeps(&child) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                if child.try_wait().unwrap().is_none() {
                    spawn::interrupt(&child);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        spawn::collect(child)
    }

    /// An event of each kind, after which the table is as before.
    fn let_things_happen(&self) {
        let long = Duration::from_secs(900);
        let web = |text| Entry::tcp(base::at(text), base::at("10.0.0.2:443"));
        let made = [
            Entry::udp(base::at("10.0.0.1:3001"), base::at("10.0.0.2:53")).mark(1),
            Entry::udp(base::at("[2001:db8::1]:3001"), base::at("[2001:db8::2]:53")),
            web("10.0.0.1:3001").zone(Zone::new(5)),
            web("10.0.0.1:3002").labels(base::labels(&[1])),
        ];
        let update = Update::builder().mark(77).build().unwrap();
        for new in made {
            let new = new.timeout(long).build().unwrap();
            self.ct.create(&new).unwrap();
            self.ct.update(&new, &update).unwrap();
            self.ct.delete(&new).unwrap();
        }
        for new in base::expectations() {
            self.ct.expectations().delete(new.key()).unwrap();
            self.ct.expectations().create(&new).unwrap();
        }
    }
}

/// The mount namespace's own /etc, of which the names of labels are ours.
fn own_etc() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/etc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    std::fs::create_dir("/etc/xtables").unwrap();
    std::fs::write(LabelNames::PATH, base::LABELS).unwrap();
    std::fs::write("/etc/protocols", "esp 50 IPSEC-ESP\nospf 89 OSPFIGP\n").unwrap();
}

/// Runs a program of Debian's that must succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run.sh installs it"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// A netlink socket that has joined groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    groups: u32,
    /// Bytes that wait to be read.
    unread: u64,
}

/// This namespace's, by their inodes.
fn groups() -> BTreeMap<u64, Listener> {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let groups = u32::from_str_radix(fields[3], 16).unwrap();
        let unread = fields[4].parse().unwrap();
        let of_netfilter = fields[1] == "12" && groups != 0;
        of_netfilter.then(|| (fields[9].parse().unwrap(), Listener { groups, unread }))
    });
    sockets.collect()
}

pub(crate) fn list(ct: &Conntrack) -> Vec<Entry> {
    let mut entries = ct.list(&Filter::new()).unwrap();
    let all = entries.by_ref().map(Result::unwrap).collect();
    assert!(!entries.is_incomplete());
    all
}

fn expectations(ct: &Conntrack) -> Vec<Expectation> {
    let list = ct.expectations().list().unwrap();
    list.map(Result::unwrap).collect()
}

pub(crate) fn flow(entry: &Entry) -> Flow {
    format!("{:?} {:?}", entry.orig(), entry.zone())
}

/// An entry in its documented form, without what differs between twins, and its time-out.
fn told(entry: &Entry) -> (String, Option<u64>) {
    let mut value = serde_json::to_value(entry).unwrap();
    let fields = value.as_object_mut().unwrap();
    let timeout = fields
        .remove("timeout")
        .and_then(|timeout| timeout.as_u64());
    for moving in ["id", "timestamps"] {
        fields.remove(moving);
    }
    (value.to_string(), timeout)
}

/// The same of an expectation, whose time-out is told in thousands of seconds.
fn expected(expectation: &Expectation) -> String {
    let mut value = serde_json::to_value(expectation).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("id");
    if let Some(timeout) = fields.get("timeout").and_then(serde_json::Value::as_u64) {
        fields.insert("timeout".into(), (timeout / 1000).into());
    }
    value.to_string()
}

/// The programs that are compared, and where they find files.
pub(crate) struct Programs {
    directory: PathBuf,
    theirs: PathBuf,
    ctnl: PathBuf,
}

impl Programs {
    /// `CTNETLINK_TWINS_BINARY` names another command than the one that was built.
    pub(crate) fn find() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let theirs = [
            "/usr/sbin/conntrack",
            "/usr/bin/conntrack",
            "/sbin/conntrack",
        ]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("conntrack is missing; tests/run.sh installs it");
        let ctnl = std::env::var_os("CTNETLINK_TWINS_BINARY")
            .map_or_else(|| env!("CARGO_BIN_EXE_ctnl").into(), PathBuf::from);
        let name = format!("ctnl-twins-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir_all(&directory).unwrap();
        symlink(&ctnl, directory.join("conntrack")).unwrap();
        Self {
            directory,
            theirs,
            ctnl,
        }
    }

    fn program(&self, path: PathBuf) -> Program {
        let directory = self.directory.clone();
        Program { path, directory }
    }

    /// Debian's.
    pub(crate) fn theirs(&self) -> Program {
        self.program(self.theirs.clone())
    }

    /// The command by the name `conntrack`.
    pub(crate) fn ours(&self) -> Program {
        self.program(self.directory.join("conntrack"))
    }

    /// The command by its own name.
    pub(crate) fn ctnl(&self) -> Program {
        self.program(self.ctnl.clone())
    }

    /// A file that both find.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
