//! The Docker Engine API, as Docker and Podman serve it: which containers run, one of them,
//! and what is made from now on. Three GET requests; nothing is ever changed.

use super::info::{ContainerId, ContainerInfo};
use super::socket::RuntimeSocket;
use super::{Heard, MAX_ANSWER, PATIENCE};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::{self, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Those that run.
const LIST: &str = "/containers/json";

/// What is made or renamed, told as it happens: `filters` is the JSON
/// `{"event":["create","rename"],"type":["container"]}`.
const EVENTS: &str = "/events?filters=%7B%22event%22%3A%5B%22create%22%2C%22rename%22%5D%2C%22type%22%3A%5B%22container%22%5D%7D";

/// Asks about one container; `None` where it is not known, or nobody listens.
pub async fn inspect(socket: &RuntimeSocket, id: ContainerId) -> io::Result<Option<ContainerInfo>> {
    let Some(response) = get(socket, &format!("/containers/{id}/json")).await? else {
        return Ok(None);
    };
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        _ => inspected(&body(good(response)?).await?),
    }
}

/// Follows what a runtime tells: what runs now, then what is made. Ends where the runtime
/// ends. `false` where nobody listens.
pub async fn follow(socket: &RuntimeSocket, mut heard: impl FnMut(Heard)) -> io::Result<bool> {
    // What is made from now on is asked for beside what is there, so that nothing is missed in
    // between; Podman answers that only when there is something to tell.
    let mut events = JoinSet::new();
    let own = socket.clone();
    events.spawn(async move { get(&own, EVENTS).await });
    let list = async {
        let Some(list) = get(socket, LIST).await? else { return Ok(None) };
        body(good(list)?).await.map(Some)
    };
    let list = timeout(PATIENCE, list).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let Some(list) = list? else { return Ok(false) };
    listed(&list, &mut heard)?;
    heard(Heard::Listed);
    let Some(Ok(response)) = events.join_next().await else { return Ok(false) };
    let Some(response) = response? else { return Ok(false) };
    let mut events = good(response)?.into_body();
    let mut waiting = Vec::new();
    while let Some(frame) = events.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
        told(&mut waiting, &mut heard)?;
    }
    Ok(true)
}

async fn get(socket: &RuntimeSocket, path: &str) -> io::Result<Option<Response<Incoming>>> {
    let Some(stream) = socket.open().await? else { return Ok(None) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // It ends with the response, or with the runtime of this thread.
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    sender.send_request(request).await.map(Some).map_err(io::Error::other)
}

fn good(response: Response<Incoming>) -> io::Result<Response<Incoming>> {
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(io::Error::other(status.to_string())),
    }
}

async fn body(response: Response<Incoming>) -> io::Result<Bytes> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    body.map(|body| body.to_bytes()).map_err(io::Error::other)
}

/// Text at a place of a JSON value; what is not there is empty.
fn text<'v>(value: &'v Value, at: &str) -> &'v str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// What `GET /containers/ID/json` says.
fn inspected(json: &[u8]) -> io::Result<Option<ContainerInfo>> {
    let value: Value = serde_json::from_slice(json)?;
    let labels = value.pointer("/Config/Labels");
    let label = |key: &str| labels?.get(key)?.as_str();
    let info = ContainerInfo::of(text(&value, "/Name"), text(&value, "/Config/Image"), label);
    Ok((info != ContainerInfo::default()).then_some(info))
}

/// What `GET /containers/json` says.
fn listed(json: &[u8], heard: &mut impl FnMut(Heard)) -> io::Result<()> {
    let value: Value = serde_json::from_slice(json)?;
    for one in value.as_array().into_iter().flatten() {
        let label = |key: &str| one.get("Labels")?.get(key)?.as_str();
        if let Some(id) = ContainerId::parse(text(one, "/Id")) {
            let info = ContainerInfo::of(text(one, "/Names/0"), text(one, "/Image"), label);
            heard(Heard::Container(id, info));
        }
    }
    Ok(())
}

/// Takes whole events out of what has come of `GET /events`.
fn told(waiting: &mut Vec<u8>, heard: &mut impl FnMut(Heard)) -> io::Result<()> {
    let mut values = serde_json::Deserializer::from_slice(waiting).into_iter::<Value>();
    let mut used = 0;
    for value in values.by_ref() {
        let value = match value {
            Ok(value) => value,
            Err(e) if e.is_eof() => break,
            Err(e) => return Err(e.into()),
        };
        if let Some(id) = ContainerId::parse(text(&value, "/Actor/ID")) {
            // Labels are among the attributes.
            let attributes = value.pointer("/Actor/Attributes");
            let attribute = |key: &str| attributes?.get(key)?.as_str();
            let word = |key| attribute(key).unwrap_or_default();
            heard(Heard::Container(id, ContainerInfo::of(word("name"), word("image"), attribute)));
        }
    }
    used += values.byte_offset();
    waiting.drain(..used);
    if waiting.len() > MAX_ANSWER {
        return Err(io::Error::other("an event without an end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa";

    fn all(read: impl FnOnce(&mut dyn FnMut(Heard)) -> io::Result<()>) -> Vec<String> {
        let mut out = Vec::new();
        let mut heard = |heard| match heard {
            Heard::Container(id, info) => out.push(format!("{id} {info:?}")),
            Heard::Listed => out.push("listed".to_owned()),
        };
        if let Err(e) = read(&mut heard) {
            out.push(e.to_string());
        }
        out
    }

    #[test]
    fn one_container_as_docker_and_as_podman_say_it() {
        let docker = br#"{"Id":"x","Name":"/web","Config":{"Image":"nginx:1","Labels":
            {"io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n","a":"b"}}}"#;
        let info = inspected(docker).unwrap().unwrap();
        assert_eq!((info.name.as_deref(), info.image.as_deref()), (Some("web"), Some("nginx:1")));
        assert_eq!((info.pod.as_deref(), info.pod_namespace.as_deref()), (Some("p"), Some("n")));
        let rootfs = br#"{"Name":"/box","Config":{"Image":"","Labels":null}}"#;
        let info = inspected(rootfs).unwrap().unwrap();
        assert_eq!((info.name.as_deref(), info.image), (Some("box"), None));
    }

    #[test]
    fn answers_that_are_wrong_name_nothing() {
        for json in
            ["{}", "[]", "null", "7", r#"{"Name":7,"Config":"x"}"#, r#"{"Config":{"Labels":[]}}"#]
        {
            assert_eq!(inspected(json.as_bytes()).unwrap(), None, "{json}");
        }
        for json in ["", "{", "<html>", "{\"Name\":\"\u{1}", "[[[["] {
            assert!(inspected(json.as_bytes()).is_err(), "{json}");
        }
        assert!(inspected("[".repeat(100_000).as_bytes()).is_err(), "deeper than serde_json goes");
        for json in ["{}", "[{}]", r#"[{"Id":"short","Names":["/a"]}]"#, "[7,null]"] {
            assert!(all(|heard| listed(json.as_bytes(), &mut &mut *heard)).is_empty(), "{json}");
        }
    }

    #[test]
    fn a_list_with_what_is_missing() {
        let json = format!(r#"[{{"Id":"{ID}"}},{{"Id":"{ID}","Names":["/a","/b"],"Image":"i"}}]"#);
        let said = all(|heard| listed(json.as_bytes(), &mut &mut *heard));
        assert_eq!(said.len(), 2);
        assert!(said[1].contains(r#"name: Some("a"), image: Some("i")"#), "{said:?}");
    }

    #[test]
    fn events_come_in_pieces() {
        let event = format!(
            concat!(
                r#"{{"Type":"container","Action":"create","Actor":{{"ID":"{}","Attributes":"#,
                r#"{{"image":"i","name":"web","io.kubernetes.pod.name":"p"}}}}}}"#,
                "\n"
            ),
            ID
        );
        let two = format!("{event}{event}");
        for cut in [1, event.len() - 1, event.len(), event.len() + 1] {
            let mut waiting = two.as_bytes()[..cut].to_vec();
            let mut said = all(|heard| told(&mut waiting, &mut &mut *heard));
            waiting.extend_from_slice(&two.as_bytes()[cut..]);
            said.extend(all(|heard| told(&mut waiting, &mut &mut *heard)));
            assert_eq!(said.len(), 2, "cut at {cut}: {said:?}");
            assert!(
                said[0].contains(r#"name: Some("web")"#) && said[0].contains(r#"pod: Some("p")"#)
            );
            assert!(waiting.len() <= 1);
        }
        let mut waiting = vec![b'"'; 1];
        waiting.resize(MAX_ANSWER + 1, b'a');
        assert_eq!(all(|heard| told(&mut waiting, &mut &mut *heard)), ["an event without an end"]);
    }
}
