//! Several workers, of which one is killed.

use crate::program::{Program, Run};
use crate::redis_server::RedisServer;
use redis::Commands;
use redis::streams::StreamPendingCountReply;
use services::RedisConnection;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: work_queue [--redis HOST:PORT] [--queue NAME] ";

/// Far more than anything here takes.
const HANG: Duration = Duration::from_secs(100);

/// A queue of this test, and a directory for what its jobs leave.
struct Queue {
    server: RedisServer,
    directory: PathBuf,
}

impl Queue {
    fn new(test: &str) -> Option<Queue> {
        let server = RedisServer::start(test)?;
        let directory = std::env::temp_dir().join(format!("fibers-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        Some(Queue { server, directory })
    }

    fn program(&self, args: &[&str]) -> Program {
        let server = self.server.address().to_string();
        let mut program = Program::new("work_queue").args(["--redis", &server]).args(args);
        program.command.current_dir(&self.directory);
        program
    }

    fn run(&self, args: &[&str]) -> Run {
        let run = self.program(args).run();
        assert_eq!((run.code, run.stderr()), (Some(0), ""), "{run:?}");
        run
    }

    /// The numbers of the new jobs.
    fn add(&self, commands: &[String]) -> Vec<String> {
        let commands: Vec<_> = ["add"].into_iter().chain(commands.iter().map(|c| &**c)).collect();
        self.run(&commands).stdout().lines().map(str::to_owned).collect()
    }

    fn worker(&self, args: &[&str]) -> Worker {
        let args: Vec<_> = ["work", "--patience", "1"].iter().chain(args).copied().collect();
        let mut program = self.program(&args);
        Worker(Some(program.command.spawn().expect("the example starts")))
    }

    /// Waits until the status is as wanted.
    fn until(&self, wanted: &str) {
        let began = Instant::now();
        loop {
            let status = self.run(&["status"]);
            if status.stdout() == wanted {
                return;
            }
            assert!(began.elapsed() < HANG, "instead of\n{wanted}: {status:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn results(&self) -> HashMap<String, String> {
        let run = self.run(&["results"]);
        let pair = |line: &str| line.split_once('\t').map(|(id, result)| (id.to_owned(), result.to_owned()));
        run.stdout().lines().map(|line| pair(line).expect("two fields")).collect()
    }

    /// A command that waits until `gate` has been opened, and leaves a line in `log` when it begins.
    fn behind(&self, gate: &str, then: &str) -> String {
        format!("echo begun >> log; until [ -e {gate} ]; do sleep 0.02; done; {then}")
    }

    fn open(&self, gate: &str) {
        std::fs::write(self.directory.join(gate), "").expect("a file");
    }

    fn begun(&self) -> usize {
        std::fs::read_to_string(self.directory.join("log")).map_or(0, |log| log.lines().count())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A worker that does not outlive its test.
struct Worker(Option<Child>);

impl Worker {
    fn signal(&self, signal: &str) {
        let id = self.0.as_ref().expect("it runs").id().to_string();
        let kill = std::process::Command::new("kill").args([signal, &id]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Its end: its code, and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        let child = self.0.take().expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
        }
    }
}

/// Every worker is full when one of them is killed.
#[test]
fn a_killed_worker_loses_no_job() {
    let Some(queue) = Queue::new("a_killed_worker_loses_no_job") else {
        return;
    };
    let commands: Vec<_> = (0..40)
        .map(|i| queue.behind("gate", &format!("printf 'result {i} of %s' $WORK_QUEUE_JOB")))
        .collect();
    let ids = queue.add(&commands);
    assert_eq!(ids.len(), 40);
    queue.until("waiting 40\nbegun 0\ndone 0\ndead 0\n");
    let mut workers: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| queue.worker(&["--name", name, "--jobs", "4"]))
        .collect();
    queue.until("waiting 28\nbegun 12\ndone 0\ndead 0\n");
    let victim = workers.remove(0);
    victim.signal("-KILL");
    assert_eq!(victim.end().0, None);
    queue.open("gate");
    queue.until("waiting 0\nbegun 0\ndone 40\ndead 0\n");

    let results = queue.results();
    assert_eq!(results.len(), 40);
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(results[id], format!("{:?}", format!("result {i} of {id}")));
    }
    let mut taken_over = 0;
    for worker in workers {
        worker.signal("-INT");
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
        taken_over += said.lines().filter(|line| line.ends_with(": try 2 of 3")).count();
    }
    assert!(taken_over >= 4, "{taken_over}");
}

#[test]
fn ctrl_c_finishes_what_runs_and_takes_no_more() {
    let Some(queue) = Queue::new("ctrl_c_finishes_what_runs_and_takes_no_more") else {
        return;
    };
    let commands = ["one", "two", "three"].map(|word| queue.behind("gate", &format!("echo {word}")));
    let ids = queue.add(&commands);
    // So patient that nobody takes over anything.
    let worker = queue.worker(&["--jobs", "2", "--patience", "600"]);
    queue.until("waiting 1\nbegun 2\ndone 0\ndead 0\n");
    worker.signal("-INT");
    let other = queue.worker(&["--jobs", "3", "--patience", "600"]);
    queue.until("waiting 0\nbegun 3\ndone 0\ndead 0\n");
    queue.open("gate");
    assert_eq!(worker.end(), (Some(0), String::new()));
    queue.until("waiting 0\nbegun 0\ndone 3\ndead 0\n");
    other.signal("-TERM");
    assert_eq!(other.end(), (Some(0), String::new()));
    assert_eq!(queue.begun(), 3, "a job was run twice");
    let results = queue.results();
    let words = ids.iter().map(|id| &*results[id]);
    assert!(words.eq(["\"one\\n\"", "\"two\\n\"", "\"three\\n\""]));
}

/// For how long nobody has said that he is at the job that was handed out.
fn silence(connection: &mut RedisConnection) -> usize {
    let books: StreamPendingCountReply = connection
        .xpending_count("work_queue:jobs", "workers", "-", "+", 1)
        .expect("the books");
    assert_eq!((books.ids.len(), books.ids[0].times_delivered), (1, 1));
    books.ids[0].last_delivered_ms
}

#[test]
fn a_worker_says_that_it_is_still_at_a_job() {
    let Some(queue) = Queue::new("a_worker_says_that_it_is_still_at_a_job") else {
        return;
    };
    queue.add(&[queue.behind("gate", "echo done")]);
    // It has no room to take over its own job.
    let worker = queue.worker(&["--jobs", "1"]);
    queue.until("waiting 0\nbegun 1\ndone 0\ndead 0\n");
    let mut connection = RedisConnection::open(queue.server.address(), HANG).expect("a connection");
    let (began, mut before) = (Instant::now(), silence(&mut connection));
    for _ in 0..3 {
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = silence(&mut connection);
            if std::mem::replace(&mut before, now) > now {
                break;
            }
            assert!(began.elapsed() < HANG, "it is silent");
        }
    }
    queue.open("gate");
    queue.until("waiting 0\nbegun 0\ndone 1\ndead 0\n");
    worker.signal("-INT");
    assert_eq!(worker.end(), (Some(0), String::new()));
}

#[test]
fn a_job_that_fails_each_time_goes_to_the_dead_letters() {
    let Some(queue) = Queue::new("a_job_that_fails_each_time_goes_to_the_dead_letters") else {
        return;
    };
    let ids = queue.add(&["echo well".into(), "echo begun >> log; exit 3".into()]);
    let worker = queue.worker(&["--tries", "2"]);
    queue.until("waiting 0\nbegun 0\ndone 1\ndead 1\n");
    worker.signal("-INT");
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(queue.begun(), 2);
    let results = queue.results();
    assert_eq!(results[&ids[0]], "\"well\\n\"");
    assert_eq!(results[&ids[1]], "dead, exit status: 3: echo begun >> log; exit 3");
}

#[test]
fn help_wrong_arguments_and_no_server() {
    let help = Program::new("work_queue").args(["--help"]).run();
    assert!(help.stdout().starts_with(USAGE), "{help:?}");
    let wrong: [&[&str]; 7] = [
        &[],
        &["add"],
        &["status", "more"],
        &["work", "--jobs", "0"],
        &["work", "--patience", "-1"],
        &["work", "--name"],
        &["sweep"],
    ];
    for args in wrong {
        Program::new("work_queue").args(args).run().check(2, "", help.stdout());
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let free = free.expect("a free port").to_string();
    let run = Program::new("work_queue").args(["--redis", &free, "status"]).run();
    assert_eq!((run.code, run.stdout()), (Some(1), ""), "{run:?}");
    assert!(
        run.stderr().starts_with(&format!("work_queue: cannot connect to {free}: ")),
        "{run:?}"
    );
}
