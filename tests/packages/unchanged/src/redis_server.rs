//! A Redis server to test against.

use fibers::process::{Child, ChildStdout, Command, Stdio};
use fibers::signal::Signal;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A `redis-server` of our own, on a port of this machine, which keeps nothing. Dropping it ends it.
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    directory: PathBuf,
    child: Child,
    /// Open for as long as the server may say something.
    _says: BufReader<ChildStdout>,
}

impl RedisServer {
    /// Starts it, and waits until it serves. None, and a line on standard error, if this machine has no such program.
    ///
    /// Call it on a thread that lives as long as the server is needed: the server ends with it at the latest.
    pub fn start(test: &str) -> Option<RedisServer> {
        loop {
            match RedisServer::try_start() {
                Ok(Some(server)) => return Some(server),
                // Somebody else has got the port meanwhile.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Not by a macro, whose output would be captured and lost.
                    let _ = writeln!(
                        io::stderr(),
                        "### SKIPPED {test}: there is no redis-server (apt-get install redis-server)"
                    );
                    return None;
                }
                Err(error) => panic!("redis-server cannot be started: {error}"),
            }
        }
    }

    fn try_start() -> io::Result<Option<RedisServer>> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let directory = std::env::temp_dir().join(format!("fibers-redis-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&directory)?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        command.current_dir(&directory).stdout(Stdio::piped());
        command.kill_on_drop(true).parent_death_signal(Signal::KILL);
        let mut child = command.spawn().inspect_err(|_| drop(std::fs::remove_dir(&directory)))?;
        let mut says = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            if says.read_line(&mut line)? == 0 {
                child.wait()?;
                std::fs::remove_dir_all(&directory)?;
                return Ok(None);
            }
        }
        Ok(Some(RedisServer {
            address,
            directory,
            child,
            _says: says,
        }))
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
