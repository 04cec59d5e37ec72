//! A runtime of CRI made of HTTP/2 frames and messages, without what the client is made of.

use super::super::socket::Api;
use super::*;
use crate::fixture::Scratch;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::path::Path;
use tokio::net::UnixListener;

const ID: &str = "3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa";

/// Answers each call with a status, and before it what `answer` makes of the request.
type Answer = fn(&str, ListContainersRequest) -> (Option<Vec<u8>>, &'static str);

async fn reply(
    request: Request<Incoming>,
    answer: Answer,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    // A flag for compression and four bytes of length stand before a message.
    let asked = ListContainersRequest::decode(&body[5..]).unwrap();
    let (message, status) = answer(&path, asked);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let framed = |message: Vec<u8>| {
        Frame::data([&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat().into())
    };
    let frames = message.map(framed).into_iter().chain([Frame::trailers(trailers)]);
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(StreamBody::new(frames)).unwrap()
}

fn serve(path: &Path, answer: Answer) -> RuntimeSocket {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| async move {
                Ok::<_, Infallible>(reply(request, answer).await)
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    RuntimeSocket { api: Api::Cri, path: path.to_owned(), named: false }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn container(id: &str, labels: &[(&str, &str)]) -> Container {
    Container {
        id: id.to_owned(),
        metadata: Some(ContainerMetadata { name: "app".into() }),
        image: Some(ImageSpec { image: "sha256:1".into(), user_specified_image: "app:2".into() }),
        image_ref: "sha256:2".into(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

const LABELS: [(&str, &str); 2] =
    [("io.kubernetes.pod.name", "web-0"), ("io.kubernetes.pod.namespace", "shop")];

#[test]
fn a_pods_container_by_its_id_and_in_the_list() {
    let answer: Answer = |path, asked| {
        assert_eq!(path, LIST);
        let filter = asked.filter.unwrap();
        // The filter's id is a prefix to some: others come beside it.
        let others = [container(&ID.replace('3', "4"), &[]), container("short", &[])];
        let own = container(ID, &LABELS);
        let containers = match (filter.id.as_str(), filter.state) {
            (ID, None) => [others.to_vec(), vec![own]].concat(),
            ("", Some(ContainerStateValue { state: RUNNING })) => vec![own],
            _ => Vec::new(),
        };
        (Some(ListContainersResponse { containers }.encode_to_vec()), "0")
    };
    let dir = Scratch::new();
    block_on(async {
        let socket = serve(&dir.path("cri.sock"), answer);
        let want = ContainerInfo {
            name: Some("app".into()),
            image: Some("app:2".into()),
            pod: Some("web-0".into()),
            pod_namespace: Some("shop".into()),
        };
        let id = ContainerId::parse(ID).unwrap();
        assert_eq!(inspect(&socket, id).await.unwrap().as_ref(), Some(&want));
        let other = ContainerId::parse(&ID.replace('3', "5")).unwrap();
        assert_eq!(inspect(&socket, other).await.unwrap(), None);
        let mut said = Vec::new();
        assert!(follow(&socket, |heard| said.push(heard)).await.unwrap());
        assert!(
            matches!(&said[..], [Heard::Container(one, info), Heard::Listed]
                if *one == id && *info == want),
            "{said:?}"
        );
    });
}

#[test]
fn what_does_not_speak_it_knows_nobody_and_what_fails_says_so() {
    let nobody: [(Answer, &str); 1] = [(|_, _| (None, "12"), "unimplemented")];
    let failing: [(Answer, &str); 4] = [
        (|_, _| (None, "13"), "internal"),
        (|_, _| (Some(vec![0xff; 64]), "0"), "not a message"),
        (|_, _| (None, "0"), "no message"),
        (|_, _| (Some(vec![0x0a; MAX_ANSWER + 1]), "0"), "too long"),
    ];
    let dir = Scratch::new();
    let id = ContainerId::parse(ID).unwrap();
    block_on(async {
        for (n, (answer, what)) in nobody.into_iter().enumerate() {
            let socket = serve(&dir.path(&format!("nobody-{n}")), answer);
            assert_eq!(inspect(&socket, id).await.unwrap(), None, "{what}");
            assert!(!follow(&socket, |_| {}).await.unwrap(), "{what}");
        }
        for (n, (answer, what)) in failing.into_iter().enumerate() {
            let socket = serve(&dir.path(&format!("failing-{n}")), answer);
            assert!(inspect(&socket, id).await.is_err(), "{what}");
        }
    });
}

#[test]
fn an_image_is_called_as_it_was_asked_for() {
    let mut one = container(ID, &[]);
    assert_eq!(info(&one).image.as_deref(), Some("app:2"));
    one.image = Some(ImageSpec { image: "busybox".into(), user_specified_image: String::new() });
    assert_eq!(info(&one).image.as_deref(), Some("busybox"));
    one.image = None;
    assert_eq!(info(&one).image.as_deref(), Some("sha256:2"));
    one.metadata = None;
    assert_eq!((info(&one).name, info(&one).pod), (None, None));
}
