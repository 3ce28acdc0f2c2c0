//! The client of the streaming service: one line of JSON for each call, in the Go peer's format.

use clap::Args;
use serde_json::{Value, json};
use ttrpc::{
    Request,
    r#async::{CSSender, Client, ClientStream},
    context::Context,
    proto::Codec as _,
};

use crate::{
    Failure, hex, output,
    stream_message::Message,
    streams::{EXTRAS, NULL_TEXT, STREAMING},
};

/// Arguments of `stream-call`.
#[derive(Args, Debug)]
pub(crate) struct StreamCall {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// A method of the streaming service or of `test.Streams`.
    #[arg(long)]
    method: String,
    /// How many messages, or unary calls.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How many times, one after the other.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// The status that Fail asks for.
    #[arg(long, default_value_t = 5)]
    code: usize,
    /// The size of the messages that Count asks for.
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// The message that Fail asks for.
    #[arg(long, default_value = "")]
    text: String,
    /// Send and receive `count` messages, say so, and leave the stream open.
    #[arg(long)]
    hold: bool,
    /// `key=value`, any number of times.
    #[arg(long, value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// The timeout to send; 0 is none.
    #[arg(long, default_value_t = 0)]
    timeout_ms: u64,
}

/// Splits `key=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("metadata is key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The messages that a call has received so far.
#[derive(Debug, Default)]
struct Received {
    /// How many.
    count: usize,
    /// The text of the last one, if it matters.
    text: Option<String>,
}

/// Makes the calls and prints their outcomes.
pub(crate) async fn run(call: StreamCall) -> Result<(), Failure> {
    let client = Client::connect(&call.address).await?;
    for _ in 0..call.repeat {
        let mut received = Received::default();
        let error = call.make(&client, &mut received).await.err();
        output::line(call.line(&received, false, error))?;
    }
    Ok(())
}

impl StreamCall {
    /// The line for a call.
    fn line(&self, received: &Received, holding: bool, error: Option<ttrpc::Error>) -> Value {
        let mut line = json!({"method": self.method, "received": received.count});
        if let Some(text) = &received.text {
            line["text"] = json!(text);
        }
        if holding {
            line["holding"] = json!(true);
        }
        if let Some(error) = error {
            line["error"] = describe(error);
        }
        line
    }

    /// Makes one call, and checks the number of each message that it gets.
    async fn make(&self, client: &Client, received: &mut Received) -> ttrpc::Result<()> {
        let count = self.count;
        let number = |seq: usize| move |message: &Message| expect(message.number as usize, seq);
        match self.method.as_str() {
            "Echo" | "Describe" => {
                for seq in 0..count {
                    let service = if self.method == "Echo" { STREAMING } else { EXTRAS };
                    let request = self.request(service, Some(&Message::echo(seq, "")))?;
                    let reply = decode(&client.request(request).await?.payload)?;
                    if self.method == "Echo" {
                        expect(reply.number as usize, seq + 1)?;
                    }
                    received.text = Some(reply.text).filter(|text| !text.is_empty());
                    received.count += 1;
                }
            }
            "EchoStream" => {
                let messages = (0..count).map(|seq| Message::echo(seq, format!("{seq}: Echo")));
                self.both(client, STREAMING, messages, received, |seq, reply| {
                    if reply.text != format!("{seq}: Echo") {
                        return Err(other(format!("{:?} as the answer {seq}", reply.text)));
                    }
                    number(seq + 1)(reply)
                })
                .await?;
            }
            "EchoNullStream" => {
                let messages = (0..count).map(|seq| Message::echo(seq, NULL_TEXT));
                self.both(client, STREAMING, messages, received, |_, _| Ok(())).await?;
            }
            "Fail" => {
                let messages = std::iter::once(Message::echo(self.code, self.text.as_str()));
                self.both(client, EXTRAS, messages, received, |_, reply| number(self.code)(reply))
                    .await?;
            }
            "SumStream" => {
                let sum = self.upload(client, (0..count).map(|add| Message::part(add as i64)));
                let sum = sum.await?;
                expect(sum.number as usize, count * count.saturating_sub(1) / 2)?;
                received.count = sum.count as usize;
            }
            "EchoNull" => {
                self.upload(client, (0..count).map(|seq| Message::echo(seq, NULL_TEXT))).await?;
                received.count = 1;
            }
            "DivideStream" => {
                let mut rest = 3 * count;
                let request = Message::sum(rest as i64, count as i64);
                self.download(client, STREAMING, &request, received, |seq, part| {
                    let expected = if seq + 1 == count { rest as i64 } else { seq as i64 };
                    rest = rest.wrapping_sub(seq);
                    expect(part.number, expected)
                })
                .await?;
            }
            "EmptyPayloadStream" => {
                let request = Message::default();
                self.download(client, STREAMING, &request, received, |seq, reply| {
                    number(seq + 1)(reply)
                })
                .await?;
            }
            "Count" => {
                let request = Message::sum(self.size as i64, count as i64);
                self.download(client, EXTRAS, &request, received, |seq, reply| {
                    expect(reply.text.len(), self.size)?;
                    number(seq)(reply)
                })
                .await?;
            }
            "Hang" => {
                let request = Message::echo(1, "");
                self.download(client, EXTRAS, &request, received, |_, reply| number(1)(reply))
                    .await?;
            }
            method => return Err(other(format!("no such method: {method}"))),
        }
        Ok(())
    }

    /// A request, with the message that it carries.
    fn request(&self, service: &str, message: Option<&Message>) -> ttrpc::Result<Request> {
        let mut context = Context::default();
        for (key, value) in &self.metadata {
            context.add(key.clone(), value.clone());
        }
        let payload = message.map(encode).transpose()?.unwrap_or_default();
        Ok(Request {
            service: service.to_owned(),
            method: self.method.clone(),
            payload,
            timeout_nano: (self.timeout_ms * 1_000_000) as i64,
            metadata: ttrpc::context::to_pb(context.metadata),
            ..Request::new()
        })
    }

    /// Sends and receives at the same time.
    async fn both(
        &self,
        client: &Client,
        service: &str,
        messages: impl Iterator<Item = Message>,
        received: &mut Received,
        mut check: impl FnMut(usize, &Message) -> ttrpc::Result<()>,
    ) -> ttrpc::Result<()> {
        let inner = client.new_stream(self.request(service, None)?, true, true).await?;
        let (sender, mut receiver) = ClientStream::<Message, Message>::new(inner).split();
        let receiving = async {
            loop {
                match receiver.recv().await {
                    Ok(reply) => check(received.count, &reply)?,
                    Err(ttrpc::Error::Eof) => return Ok(()),
                    Err(error) => return Err(error),
                }
                received.count += 1;
                self.hold_after(received, self.count).await?;
            }
        };
        // A status ends the call, even if messages are still to be sent.
        let sending = async {
            send_all(&sender, messages, self.hold).await?;
            std::future::pending().await
        };
        tokio::select! {
            result = receiving => result,
            result = sending => result,
        }
    }

    /// Sends everything and receives the response.
    async fn upload(
        &self,
        client: &Client,
        messages: impl Iterator<Item = Message>,
    ) -> ttrpc::Result<Message> {
        let inner = client.new_stream(self.request(STREAMING, None)?, true, false).await?;
        let (sender, mut receiver) = ClientStream::<Message, Message>::new(inner).split();
        send_all(&sender, messages, self.hold).await?;
        self.hold_after(&Received::default(), 0).await?;
        receiver.recv().await
    }

    /// Receives everything that one message causes.
    async fn download(
        &self,
        client: &Client,
        service: &str,
        request: &Message,
        received: &mut Received,
        mut check: impl FnMut(usize, &Message) -> ttrpc::Result<()>,
    ) -> ttrpc::Result<()> {
        let inner = client.new_stream(self.request(service, Some(request))?, false, true).await?;
        let (_sender, mut receiver) = ClientStream::<Message, Message>::new(inner).split();
        loop {
            match receiver.recv().await {
                Ok(reply) => check(received.count, &reply)?,
                Err(ttrpc::Error::Eof) => return Ok(()),
                Err(error) => return Err(error),
            }
            received.count += 1;
            self.hold_after(received, self.count).await?;
        }
    }

    /// If the stream is held open, says that everything was received and waits to be killed.
    async fn hold_after(&self, received: &Received, count: usize) -> ttrpc::Result<()> {
        if self.hold && received.count >= count {
            output::line(self.line(received, true, None))
                .map_err(|error| other(error.to_string()))?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Sends messages, and closes unless the stream is held open.
async fn send_all(
    sender: &CSSender<Message>,
    messages: impl Iterator<Item = Message>,
    hold: bool,
) -> ttrpc::Result<()> {
    for message in messages {
        sender.send(&message).await?;
    }
    if hold { Ok(()) } else { sender.close_send().await }
}

/// How a call failed: with a status of the server, or otherwise.
fn describe(error: ttrpc::Error) -> Value {
    let ttrpc::Error::RpcStatus(status) = error else {
        return json!({"kind": "other", "code": 0, "message": error.to_string(), "details": []});
    };
    let details: Vec<_> = status
        .details
        .iter()
        .map(|any| json!({"type_url": any.type_url, "value": hex::encode(&any.value)}))
        .collect();
    let (code, message) = (status.code.value(), &status.message);
    json!({"kind": "status", "code": code, "message": message, "details": details})
}

/// Fails unless both are equal.
fn expect<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> ttrpc::Result<()> {
    if actual == expected {
        return Ok(());
    }
    Err(other(format!("{actual:?} in place of {expected:?}")))
}

/// Encodes a message.
fn encode(message: &Message) -> ttrpc::Result<Vec<u8>> {
    message.encode().map_err(|error| other(error.to_string()))
}

/// Decodes a message.
fn decode(bytes: &[u8]) -> ttrpc::Result<Message> {
    Message::decode(bytes).map_err(|error| other(error.to_string()))
}

/// An error of this client itself.
fn other(text: String) -> ttrpc::Error {
    ttrpc::Error::Others(text)
}
