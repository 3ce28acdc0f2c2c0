//! An independent test peer: the generated Rust clients and servers of containerd's shim
//! protocol, driven from the command line so that the tests can run the Node binding against them.

#![expect(
    clippy::duplicate_mod,
    reason = "task/ is compiled against each of the two crates, whose types differ in name only"
)]

mod address;
mod bench;
mod echo;
mod events;
mod hex;
mod history;
mod instruction;
mod lifecycle;
mod output;
mod stream_call;
mod stream_message;
mod streams;
mod task_v2;
mod task_v3;
mod threads;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lifecycle::Stop;

/// The error of a subcommand; `main` prints it and exits with 1.
type Failure = Box<dyn std::error::Error>;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "shim-peer")]
struct Arguments {
    /// The role of the process.
    #[command(subcommand)]
    command: Command,
}

/// The roles of the peer, one for each process.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the generated Task service (and Events with v3).
    Serve(Serve),
    /// Call the Task service with the generated client, one JSON line a call.
    Call(Call),
    /// Serve `test.Echo`, registered by hand.
    Echo(Listen),
    /// Serve Events with threads, as shims of the Rust crate without `async` do.
    Threads(Listen),
    /// Serve the streaming service of ttrpc's integration tests, and `test.Streams`.
    Streams(Listen),
    /// Call the streaming service, one JSON line a call.
    StreamCall(stream_call::StreamCall),
    /// Serve `test.Bench` and Events, for the benchmark.
    BenchServer(Listen),
    /// Measure the native client: a job for each line of stdin, its result as a line of JSON.
    BenchClient,
    /// Serve Events and count `TaskExit`s; prints one JSON line when all have come.
    Events(events::Serve),
    /// Publish `TaskExit`s to a server of Events; prints one JSON line.
    Publish(events::Publish),
}

/// Which release of the Task service to speak.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Task {
    /// `containerd.task.v2.Task`, through containerd-shim-protos 0.11 and ttrpc 0.9.
    V2,
    /// `containerd.task.v3.Task`, through containerd-shim-protos 0.12 and ttrpc 0.10.
    V3,
}

/// Where a server listens and when it ends.
#[derive(Args, Debug)]
struct Listen {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// End, with status 0, when stdin ends: the peer cannot outlive the test that started it.
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

/// Arguments of `serve`.
#[derive(Args, Debug)]
struct Serve {
    /// Where to listen.
    #[command(flatten)]
    listen: Listen,
    /// Which Task service to serve.
    #[arg(long, value_enum, default_value_t = Task::V3)]
    task: Task,
}

/// Arguments of `call`.
#[derive(Args, Debug)]
struct Call {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// Which Task service to call.
    #[arg(long, value_enum, default_value_t = Task::V3)]
    task: Task,
    /// What to call.
    #[command(flatten)]
    options: CallOptions,
}

/// What `call` sends, in either version.
#[derive(Args, Debug)]
struct CallOptions {
    /// The `id` of every request.
    #[arg(long, default_value = "container-1")]
    id: String,
    /// One method (as in the .proto) instead of all 17; v3 also takes `Forward`, of Events.
    #[arg(long)]
    only: Option<String>,
    /// The timeout of every call; 0 is none.
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

/// Runs the chosen role on one thread, which also keeps the stream ids of a client in order.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    match Arguments::parse().command {
        Command::Serve(Serve { listen, task }) => {
            let stop = Stop::watch(listen.exit_on_stdin_eof)?;
            address::clear(&listen.address)?;
            match task {
                Task::V2 => task_v2::serve(&listen.address, stop).await,
                Task::V3 => task_v3::serve(&listen.address, stop).await,
            }
        }
        Command::Call(Call { address, task, options }) => match task {
            Task::V2 => task_v2::call(&address, &options).await,
            Task::V3 => task_v3::call(&address, &options).await,
        },
        Command::Echo(listen) => {
            let stop = Stop::watch(listen.exit_on_stdin_eof)?;
            address::clear(&listen.address)?;
            echo::serve(&listen.address, stop).await
        }
        Command::Threads(listen) => {
            let stop = Stop::watch(listen.exit_on_stdin_eof)?;
            address::clear(&listen.address)?;
            threads::serve(&listen.address, stop).await
        }
        Command::Streams(listen) => {
            let stop = Stop::watch(listen.exit_on_stdin_eof)?;
            address::clear(&listen.address)?;
            streams::serve(&listen.address, stop).await
        }
        Command::StreamCall(call) => stream_call::run(call).await,
        Command::BenchServer(listen) => {
            let stop = Stop::watch(listen.exit_on_stdin_eof)?;
            address::clear(&listen.address)?;
            bench::serve(&listen.address, stop).await
        }
        Command::BenchClient => bench::client().await,
        Command::Events(serve) => events::serve(serve).await,
        Command::Publish(publish) => events::publish(publish).await,
    }
}
