//! Commands that several processes, on as many machines as one likes, take from a Redis server and run. None is lost when a worker
//! dies: the others take over what it has begun.
//!
//! `cargo run --release --example work_queue -- add 'echo one' 'sleep 5; echo two'`
//!
//! `cargo run --release --example work_queue -- work --jobs 4`, several times, and then `status` and `results`.
//!
//! # What is promised
//! A job is run *at least* once. The jobs are a stream with one consumer group, so a job that was handed out stays in the books of
//! its worker until it is done. A worker says now and then which jobs it is still at; one of which nobody has said so for `--patience`
//! is handed out again. So a job is run twice if its worker died just before it was done, or was only silent for too long. Its result
//! and its leaving the stream are one transaction, and the first result stands. A command that must not have its effect twice
//! finds the number of its job in the variable `WORK_QUEUE_JOB`.
//!
//! A job that fails is handed out again in the same way; after `--tries` it goes to the dead letters, with the reason.
//!
//! Ctrl-C takes no more jobs and finishes those that run; the second one ends the worker at once. Whoever may write to the server
//! may run commands on the workers.

use fibers::process::{Command, Output, Stdio};
use fibers::signal::Signal;
use fibers::sync::{Mutex, Semaphore};
use fibers::time::Ticker;
use fibers::{Cond, go, scope, select};
use fibers_examples::stop_on_signal;
use redis::Commands;
use redis::streams::{
    StreamAutoClaimOptions, StreamAutoClaimReply, StreamClaimOptions, StreamId, StreamPendingCountReply, StreamPendingReply,
    StreamRangeReply, StreamReadOptions, StreamReadReply,
};
use services::{RedisConnection, print};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: work_queue [--redis HOST:PORT] [--queue NAME] add COMMAND..
       work_queue [--redis HOST:PORT] [--queue NAME] work [--name NAME] [--jobs N] [--tries N] [--patience SECONDS]
       work_queue [--redis HOST:PORT] [--queue NAME] status | results";

/// The consumer group, of which every worker is a member.
const GROUP: &str = "workers";

/// How long an answer of the server may take.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a worker waits for a new job before it looks for abandoned ones again, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What all processes have to agree about.
struct Queue {
    server: String,
    jobs: String,
    results: String,
    dead: String,
}

enum Task {
    Add(Vec<String>),
    Work(Worker),
    Status,
    Results,
}

struct Worker {
    name: String,
    jobs: usize,
    tries: usize,
    patience: Duration,
}

fn arguments(args: impl IntoIterator<Item = String>) -> Option<(Queue, Task)> {
    let (mut server, mut queue) = ("127.0.0.1:6379".to_owned(), "work_queue".to_owned());
    let mut args = args.into_iter();
    let task = loop {
        match &*args.next()? {
            "--redis" => server = args.next()?,
            "--queue" => queue = args.next()?,
            "add" => break Task::Add(args.by_ref().collect()),
            "work" => break Task::Work(worker(args.by_ref())?),
            "status" => break Task::Status,
            "results" => break Task::Results,
            _ => return None,
        }
    };
    let nothing_to_add = matches!(&task, Task::Add(jobs) if jobs.is_empty());
    let queue = Queue {
        server,
        jobs: format!("{queue}:jobs"),
        results: format!("{queue}:results"),
        dead: format!("{queue}:dead"),
    };
    (args.next().is_none() && !nothing_to_add).then_some((queue, task))
}

fn worker(mut args: impl Iterator<Item = String>) -> Option<Worker> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut worker = Worker {
        name: format!("{}-{}", host.trim(), std::process::id()),
        jobs: 4,
        tries: 3,
        patience: Duration::from_secs(30),
    };
    let shortest = Duration::from_millis(100);
    while let Some(arg) = args.next() {
        let value = args.next()?;
        match &*arg {
            "--name" => worker.name = value,
            "--jobs" => worker.jobs = value.parse().ok().filter(|n| *n > 0)?,
            "--tries" => worker.tries = value.parse().ok().filter(|n| *n > 0)?,
            "--patience" => {
                let patience = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
                worker.patience = Some(patience).filter(|patience| *patience >= shortest)?;
            }
            _ => return None,
        }
    }
    Some(worker)
}

impl Queue {
    /// Connects, and sees to it that there is a group.
    fn connect(&self) -> Result<RedisConnection> {
        let connection = RedisConnection::open(&self.server, SILENCE);
        let mut connection = connection.map_err(|error| format!("cannot connect to {}: {error}", self.server))?;
        connection.set_timeout(Some(SILENCE))?;
        // From the beginning of the stream, so that jobs may be added before there is a worker.
        match connection.xgroup_create_mkstream::<_, _, _, ()>(&self.jobs, GROUP, "0") {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
            _ => Ok(connection),
        }
    }

    /// Says the number of each new job.
    fn add(&self, commands: &[String]) -> Result<String> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for command in commands {
            pipe.xadd(&self.jobs, "*", &[("command", command)]);
        }
        let ids: Vec<String> = pipe.query(&mut self.connect()?)?;
        Ok(ids.iter().map(|id| format!("{id}\n")).collect())
    }

    fn status(&self) -> Result<String> {
        let mut pipe = redis::pipe();
        pipe.atomic().xlen(&self.jobs).xpending(&self.jobs, GROUP);
        pipe.hlen(&self.results).xlen(&self.dead);
        let (jobs, begun, done, dead): (usize, StreamPendingReply, usize, usize) = pipe.query(&mut self.connect()?)?;
        let begun = begun.count();
        let waiting = jobs.saturating_sub(begun);
        Ok(format!("waiting {waiting}\nbegun {begun}\ndone {done}\ndead {dead}\n"))
    }

    /// What each job has printed, and why some have not been done.
    fn results(&self) -> Result<String> {
        let mut connection = self.connect()?;
        let done: BTreeMap<String, String> = connection.hgetall(&self.results)?;
        let dead: StreamRangeReply = connection.xrange_all(&self.dead)?;
        let mut text = String::new();
        for (id, output) in done {
            writeln!(text, "{id}\t{output:?}")?;
        }
        for letter in dead.ids {
            let field = |name| letter.get::<String>(name).unwrap_or_default();
            writeln!(text, "{}\tdead, {}: {}", field("job"), field("reason"), field("command"))?;
        }
        Ok(text)
    }
}

/// A command that this worker has been given.
struct Job {
    id: String,
    command: String,
    /// How often it has been handed out, this time included.
    tries: usize,
}

impl Job {
    fn new(entry: StreamId, tries: usize) -> Job {
        let command = entry.get("command").unwrap_or_default();
        Job {
            id: entry.id,
            command,
            tries,
        }
    }
}

/// Where a worker gets its jobs from: a connection that nobody else waits for.
struct Inbox<'a> {
    queue: &'a Queue,
    worker: &'a Worker,
    connection: RedisConnection,
    /// How far the search for abandoned jobs has got.
    cursor: String,
}

impl Inbox<'_> {
    /// An abandoned job, or else a new one. None if there has been none for a while.
    fn next(&mut self) -> Result<Option<Job>> {
        match self.take_over()? {
            Some(job) => Ok(Some(job)),
            None => self.receive(),
        }
    }

    /// Looks through the jobs that were handed out, some at a time, to their end.
    fn take_over(&mut self) -> Result<Option<Job>> {
        let Inbox {
            queue,
            worker,
            connection,
            cursor,
        } = self;
        loop {
            let (patience, one) = (worker.patience.as_millis() as u64, StreamAutoClaimOptions::default().count(1));
            let found: StreamAutoClaimReply =
                connection.xautoclaim_options(&queue.jobs, GROUP, &worker.name, patience, &*cursor, one)?;
            *cursor = found.next_stream_id;
            if let Some(entry) = found.claimed.into_iter().next() {
                let books: StreamPendingCountReply = connection.xpending_count(&queue.jobs, GROUP, &entry.id, &entry.id, 1)?;
                // No longer in the books: its first worker has finished it after all.
                return Ok(books.ids.first().map(|book| Job::new(entry, book.times_delivered)));
            }
            if cursor == "0-0" {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self) -> Result<Option<Job>> {
        let wait = self.worker.patience.min(LOOK_AGAIN).as_millis() as usize;
        let options = StreamReadOptions::default()
            .group(GROUP, &self.worker.name)
            .count(1)
            .block(wait);
        let reply: Option<StreamReadReply> = self.connection.xread_options(&[&self.queue.jobs], &[">"], &options)?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        Ok(entries.map(|entry| Job::new(entry, 1)).next())
    }
}

/// What the jobs of a worker share.
struct Desk<'a> {
    queue: &'a Queue,
    worker: &'a Worker,
    connection: Mutex<RedisConnection>,
}

impl Desk<'_> {
    /// Runs a job to its result, or its failure.
    ///
    /// # Errors
    /// If the server cannot be told; the job is then handed out again.
    fn see_to(&self, job: &Job) -> Result<()> {
        let tries = self.worker.tries;
        if job.tries > tries {
            return self.bury(job, "its workers have died");
        }
        if job.tries > 1 {
            eprintln!("{}: try {} of {tries}", job.id, job.tries);
        }
        let output = self.run(job)?;
        let reason: &dyn Display = match &output {
            Ok(output) if output.status.success() => return self.finish(job, &output.stdout),
            Ok(output) => &output.status,
            Err(error) => error,
        };
        eprintln!("{}: {reason}", job.id);
        match job.tries < tries {
            // It stays in the books, and somebody takes it over when its time has come.
            true => Ok(()),
            false => self.bury(job, &reason.to_string()),
        }
    }

    /// Runs the command of a job, and says all the while that somebody is at it.
    fn run(&self, job: &Job) -> Result<io::Result<Output>> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&job.command).env("WORK_QUEUE_JOB", &job.id);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // Out of reach of the terminal's Ctrl-C; but nothing runs on for a worker that is no more.
        command.process_group(0).kill_on_drop(true).parent_death_signal(Signal::KILL);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        let running = go!(child.wait_with_output());
        let sign_of_life = Ticker::new(self.worker.patience / 4);
        loop {
            select! {
                output = <-running => return Ok(output.expect("waiting does not panic")),
                _ = <-sign_of_life => self.still_at(job)?,
            }
        }
    }

    fn still_at(&self, job: &Job) -> Result<()> {
        let (queue, name) = (self.queue, &self.worker.name);
        let just = StreamClaimOptions::default().with_justid();
        let _: Vec<String> = self
            .connection
            .lock()
            .xclaim_options(&queue.jobs, GROUP, name, 0, &[&job.id], just)?;
        Ok(())
    }

    fn finish(&self, job: &Job, output: &[u8]) -> Result<()> {
        let (queue, id) = (self.queue, &job.id);
        let mut pipe = redis::pipe();
        pipe.atomic().hset_nx(&queue.results, id, String::from_utf8_lossy(output));
        self.close(pipe, id)
    }

    fn bury(&self, job: &Job, reason: &str) -> Result<()> {
        eprintln!("{}: given up, {reason}", job.id);
        let letter = [("job", &*job.id), ("command", &job.command), ("reason", reason)];
        let mut pipe = redis::pipe();
        pipe.atomic().xadd(&self.queue.dead, "*", &letter);
        self.close(pipe, &job.id)
    }

    /// Does what the transaction has begun with, and takes the job out of the books and the stream.
    fn close(&self, mut transaction: redis::Pipeline, id: &str) -> Result<()> {
        let jobs = &self.queue.jobs;
        transaction.xack(jobs, GROUP, &[id]).xdel(jobs, &[id]);
        Ok(transaction.exec(&mut *self.connection.lock())?)
    }
}

/// Takes jobs and runs them, until it is told to stop or the server is gone; then it waits for those that run.
fn work(queue: &Queue, worker: &Worker, stop: &Cond) -> Result<()> {
    let desk = Desk {
        queue,
        worker,
        connection: Mutex::new(queue.connect()?),
    };
    let mut inbox = Inbox {
        queue,
        worker,
        connection: queue.connect()?,
        cursor: "0-0".into(),
    };
    let slots = Semaphore::new(worker.jobs);
    scope(|s| {
        loop {
            let slot = select! {
                biased;
                <-stop => return Ok(()),
                slot = slots.acquire_op() => slot.expect("it is never closed"),
            };
            if let Some(job) = inbox.next()? {
                let desk = &desk;
                s.spawn(move || {
                    if let Err(error) = desk.see_to(&job) {
                        eprintln!("{}: {error}", job.id);
                    }
                    drop(slot);
                });
            }
        }
    })
}

fn perform(queue: &Queue, task: Task) -> Result<()> {
    match task {
        Task::Add(commands) => print(&queue.add(&commands)?)?,
        Task::Work(worker) => work(queue, &worker, &stop_on_signal()?)?,
        Task::Status => print(&queue.status()?)?,
        Task::Results => print(&queue.results()?)?,
    }
    Ok(())
}

#[fibers::main]
fn main() -> ExitCode {
    services::program("work_queue", USAGE, arguments, |(queue, task)| perform(&queue, task))
}
