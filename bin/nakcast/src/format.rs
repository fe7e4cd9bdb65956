//! How events are written to standard output.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nakcast::{Event, Stream};
use std::fmt::Display;
use std::io::Write;

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each payload, and a line feed.
    Text,
    /// Each payload behind its length, 32 bits big endian.
    Frames,
    /// Every event, as one JSON object a line.
    Json,
}

impl Format {
    /// Adds an event to what is to be written, if it is shown at all in this form.
    pub(crate) fn write(self, event: &Event<'_>, out: &mut Vec<u8>) {
        match (self, event) {
            (Format::Text, Event::Message(message)) => {
                out.extend_from_slice(message.payload());
                out.push(b'\n');
            }
            (Format::Frames, Event::Message(message)) => {
                let payload = message.payload();
                // No message is longer than its length in a datagram can say, which has 32 bits too.
                out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                out.extend_from_slice(payload);
            }
            (Format::Json, event) => json(event, out),
            _ => {}
        }
    }
}

fn json(event: &Event<'_>, out: &mut Vec<u8>) {
    match event {
        Event::Message(message) => {
            start(out, "message", message.source(), message.topic());
            number(out, "sequence", message.sequence());
            number(out, "message", message.number());
            number(out, "sent_ns", message.sent_ns());
            if let Some(kernel) = message.kernel_received_ns() {
                number(out, "kernel_ns", kernel);
            }
            number(out, "received_ns", message.received_ns());
            match std::str::from_utf8(message.payload()) {
                Ok(text) => field(out, "payload", text),
                Err(_) => field(out, "payload_base64", &STANDARD.encode(message.payload())),
            }
        }
        Event::Gap(gap) => {
            start(out, "gap", gap.source(), gap.topic());
            number(out, "first", gap.first());
            number(out, "last", gap.last());
            number(out, "messages", gap.messages());
            field(out, "reason", gap.reason().as_str());
        }
        Event::StreamUp(stream) => stream_event(out, "stream_up", stream),
        Event::StreamEnd(stream) => stream_event(out, "stream_end", stream),
        _ => return,
    }
    out.extend_from_slice(b"}\n");
}

fn stream_event(out: &mut Vec<u8>, event: &str, stream: &Stream<'_>) {
    start(out, event, stream.source(), stream.topic());
    number(out, "sequence", stream.sequence());
    if let Some(reason) = stream.end_reason() {
        field(out, "reason", reason.as_str());
    }
}

/// What every object begins with.
fn start(out: &mut Vec<u8>, event: &str, source: impl Display, topic: &str) {
    put(out, format_args!("{{\"event\":\"{event}\",\"source\":\"{source}\""));
    field(out, "topic", topic);
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    put(out, format_args!(",\"{name}\":{value}"));
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, format_args!(",\"{name}\":"));
    // Writing to memory does not fail, and a string can always be written.
    let _ = serde_json::to_writer(out, value);
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
