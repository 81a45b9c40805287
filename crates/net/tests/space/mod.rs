//! Threads with network namespaces of their own, standing for a host, a container, a neighbour.
//!
//! A namespace ends with the last thread in it, so nothing outlives a test, however it ends.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::thread::Pid;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that carries out what it is given, in its own namespace.
pub struct Space {
    jobs: Sender<Job>,
    thread: Pid,
}

impl Space {
    /// A thread in the namespace of the caller.
    pub fn inherited() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            queue.into_iter().for_each(|job| job());
        });
        Self { jobs, thread: told.recv().unwrap() }
    }

    /// A thread in a new namespace with nothing but loopback.
    pub fn isolated() -> Self {
        let space = Self::inherited();
        space.run(|| orlop_net::enter_none().unwrap());
        space
    }

    /// A new thread in this one's namespace.
    pub fn neighbour(&self) -> Self {
        self.run(Self::inherited)
    }

    /// Does something in the namespace.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(job())))).unwrap();
        told.recv().expect("the job panicked; its message stands above")
    }

    /// Runs a shell command in the namespace and returns what it printed.
    pub fn shell(&self, script: &str) -> String {
        let script = script.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
            assert!(
                output.status.success(),
                "{script}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Number of the thread, by which other programs find the namespace.
    pub fn id(&self) -> i32 {
        self.thread.as_raw_nonzero().get()
    }
}
