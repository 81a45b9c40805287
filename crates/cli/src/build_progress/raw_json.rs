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

    fn message(&mut self, stamped: Stamped) -> Value {
        let Stamped { event, time, .. } = stamped;
        let now = time.to_string();
        match event {
            Event::Announced { vertex, digest, name, inputs } => {
                let inputs = inputs.iter().map(|input| self.digest(*input)).collect();
                let known = Vertex { digest, name, inputs, ..Vertex::default() };
                self.vertices.insert(vertex, known);
                json!({ "vertexes": [self.vertex(vertex)] })
            }
            Event::Started { vertex } => {
                self.vertices.entry(vertex).or_default().started.get_or_insert(time);
                json!({ "vertexes": [self.vertex(vertex)] })
            }
            Event::Ended { vertex, outcome } => {
                self.vertices.entry(vertex).or_default().started.get_or_insert(time);
                let mut object = self.vertex(vertex);
                object.insert("completed".into(), now.into());
                let (key, value) = match outcome {
                    Outcome::Done => return json!({ "vertexes": [object] }),
                    Outcome::Cached => ("cached", true.into()),
                    Outcome::Cancelled => ("error", "context canceled".into()),
                    Outcome::Failed(why) => ("error", why.into()),
                };
                object.insert(key.into(), value);
                json!({ "vertexes": [object] })
            }
            Event::Log { vertex, stream, data } => json!({ "logs": [{
                "vertex": self.digest(vertex),
                "stream": stream,
                "data": base64(&data),
                "timestamp": now,
            }] }),
            Event::Status { vertex, id, current, total, done } => {
                let digest = self.digest(vertex);
                let part = self.vertices.entry(vertex).or_default().parts.entry(id.clone());
                let started = *part.or_insert(time);
                let mut status = object(json!({
                    "id": id,
                    "vertex": digest,
                    "current": current,
                    "timestamp": now,
                    "started": started.to_string(),
                }));
                if total != 0 {
                    status.insert("total".into(), total.into());
                }
                if done {
                    status.insert("completed".into(), now.into());
                }
                json!({ "statuses": [status] })
            }
            Event::Warning { rule, message, detail, url, line } => {
                json!({ "warnings": [warning(&Warning::new(&rule, &message, &detail, &url, line))] })
            }
            Event::Explained { vertex, reason } => json!({ "warnings": [{
                "vertex": self.digest(vertex),
                "level": 0,
                "short": base64(reason.as_bytes()),
            }] }),
        }
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

fn warning(warning: &Warning) -> Map<String, Value> {
    let mut out = object(json!({
        "level": 1,
        "short": base64(warning.short.as_bytes()),
        "detail": [base64(warning.detail.as_bytes())],
    }));
    if !warning.url.is_empty() {
        out.insert("url".into(), warning.url.clone().into());
    }
    if warning.line > 0 {
        let line = json!({ "line": warning.line });
        out.insert("range".into(), json!([{ "start": line, "end": line }]));
    }
    out
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
        writeln!(out, "{}", self.message(event))
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
        screen.message(stamped)
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
