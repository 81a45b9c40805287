//! `--progress=rawjson`: BuildKit's status messages, one JSON object a line.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use jiff::Timestamp;
use orlop_engine::build::progress::{Event, Outcome, VertexId};
use serde_json::{Map, Value, json};

use super::model::Warning;
use super::{Screen, Stamped};

/// What must be remembered of a step, because each message repeats it.
#[derive(Debug, Default)]
struct Vertex {
    digest: String,
    name: String,
    inputs: Vec<String>,
    started: Option<Timestamp>,
    parts: BTreeMap<String, Timestamp>,
}

/// The state of the messages.
#[derive(Debug, Default)]
pub(crate) struct RawJson {
    vertices: BTreeMap<VertexId, Vertex>,
}

impl RawJson {
    pub fn new() -> Self {
        Self::default()
    }

    fn message(&mut self, stamped: Stamped) -> Option<Value> {
        let Stamped { event, time, .. } = stamped;
        let kind = match &event {
            Event::Announced { .. } | Event::Started { .. } | Event::Ended { .. } => "vertexes",
            Event::Log { .. } => "logs",
            Event::Status { .. } => "statuses",
            Event::Warning { .. } | Event::Explained { .. } => "warnings",
        };
        let object = match event {
            Event::Announced { vertex, digest, name, inputs } => {
                let inputs = inputs.iter().map(|input| self.digest(*input)).collect();
                let known = Vertex { digest, name, inputs, ..Vertex::default() };
                self.vertices.insert(vertex, known);
                self.vertex(vertex)
            }
            Event::Started { vertex } => {
                self.vertices.entry(vertex).or_default().started.get_or_insert(time);
                self.vertex(vertex)
            }
            Event::Ended { vertex, outcome } => {
                self.vertices.entry(vertex).or_default().started.get_or_insert(time);
                let mut object = self.vertex(vertex);
                object.insert("completed".into(), time.to_string().into());
                match outcome {
                    Outcome::Done => {}
                    Outcome::Cached => {
                        object.insert("cached".into(), true.into());
                    }
                    Outcome::Cancelled => {
                        object.insert("error".into(), "context canceled".into());
                    }
                    Outcome::Failed(why) => {
                        object.insert("error".into(), why.into());
                    }
                }
                object
            }
            Event::Log { vertex, stream, data } => object(json!({
                "vertex": self.digest(vertex),
                "stream": stream,
                "data": base64(&data),
                "timestamp": time.to_string(),
            })),
            Event::Status { vertex, id, current, total, done } => {
                let digest = self.digest(vertex);
                let part = self.vertices.entry(vertex).or_default().parts.entry(id.clone());
                let started = *part.or_insert(time);
                let mut status = object(json!({
                    "id": id,
                    "vertex": digest,
                    "current": current,
                    "timestamp": time.to_string(),
                    "started": started.to_string(),
                }));
                if total != 0 {
                    status.insert("total".into(), total.into());
                }
                if done {
                    status.insert("completed".into(), time.to_string().into());
                }
                status
            }
            Event::Warning { rule, message, detail, url, line } => {
                let short = Warning::new(&rule, &message, &detail, &url, line).short;
                let mut warning = object(json!({
                    "level": 1,
                    "short": base64(short.as_bytes()),
                    "detail": [base64(detail.as_bytes())],
                }));
                if !url.is_empty() {
                    warning.insert("url".into(), url.into());
                }
                if line > 0 {
                    let range = json!([{"start": {"line": line}, "end": {"line": line}}]);
                    warning.insert("range".into(), range);
                }
                warning
            }
            Event::Explained { vertex, reason } => object(json!({
                "vertex": self.digest(vertex),
                "level": 0,
                "short": base64(reason.as_bytes()),
            })),
        };
        Some(json!({ kind: [object] }))
    }

    fn digest(&self, vertex: VertexId) -> String {
        self.vertices.get(&vertex).map(|known| known.digest.clone()).unwrap_or_default()
    }

    fn vertex(&self, vertex: VertexId) -> Map<String, Value> {
        let Some(known) = self.vertices.get(&vertex) else { return Map::new() };
        let mut object = object(json!({ "digest": known.digest }));
        if !known.inputs.is_empty() {
            object.insert("inputs".into(), known.inputs.clone().into());
        }
        object.insert("name".into(), known.name.clone().into());
        if let Some(started) = known.started {
            object.insert("started".into(), started.to_string().into());
        }
        object
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Standard base64 with padding, as Go writes bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [0, 1, 2].map(|at| chunk.get(at).copied().unwrap_or_default());
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 63) as usize;
            let letter = LETTERS.get(index).copied().unwrap_or(b'=');
            out.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

impl Screen for RawJson {
    fn event(&mut self, event: Stamped, out: &mut dyn Write) -> std::io::Result<()> {
        match self.message(event) {
            Some(message) => writeln!(out, "{message}"),
            None => Ok(()),
        }
    }

    fn refresh(&mut self, _now: Instant, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _now: Instant, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(screen: &mut RawJson, event: Event) -> Value {
        let stamped = Stamped { event, at: Instant::now(), time: Timestamp::UNIX_EPOCH };
        screen.message(stamped).unwrap_or_default()
    }

    #[test]
    fn messages_have_buildkits_keys() {
        let mut screen = RawJson::new();
        for (vertex, inputs) in [(1, vec![]), (2, vec![1])] {
            let digest = format!("sha256:{vertex}");
            let name = format!("step {vertex}");
            line(&mut screen, Event::Announced { vertex, digest, name, inputs });
        }
        assert_eq!(
            line(&mut screen, Event::Ended { vertex: 2, outcome: Outcome::Cached }),
            json!({"vertexes": [{
                "digest": "sha256:2", "inputs": ["sha256:1"], "name": "step 2",
                "started": "1970-01-01T00:00:00Z", "completed": "1970-01-01T00:00:00Z", "cached": true,
            }]})
        );
        assert_eq!(
            line(&mut screen, Event::Log { vertex: 1, stream: 2, data: b"hi\n".to_vec() }),
            json!({"logs": [{
                "vertex": "sha256:1", "stream": 2, "data": "aGkK", "timestamp": "1970-01-01T00:00:00Z",
            }]})
        );
        let id = "exporting layers".to_owned();
        assert_eq!(
            line(&mut screen, Event::Status { vertex: 1, id, current: 1, total: 2, done: true }),
            json!({"statuses": [{
                "id": "exporting layers", "vertex": "sha256:1", "current": 1, "total": 2,
                "timestamp": "1970-01-01T00:00:00Z", "started": "1970-01-01T00:00:00Z",
                "completed": "1970-01-01T00:00:00Z",
            }]})
        );
    }

    #[test]
    fn bytes_in_json() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
