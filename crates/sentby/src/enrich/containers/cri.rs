//! The Kubernetes Container Runtime Interface (`runtime.v1`), as containerd and CRI-O serve it:
//! which containers run, and one of them.
//!
//! New containers are asked for as they send. The stream of events that there is
//! (`GetContainerEvents`) is not used: containerd 1.7 hands each event to one listener alone,
//! and that has to be the kubelet.

use super::info::{ContainerId, ContainerInfo};
use super::socket::RuntimeSocket;
use super::{Heard, MAX_ANSWER};
use hyper::Uri;
use std::collections::HashMap;
use std::io;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Lists containers.
const LIST: &str = "/runtime.v1.RuntimeService/ListContainers";

/// `CONTAINER_RUNNING` of `ContainerState`.
const RUNNING: i32 = 1;

// Messages by the numbers of their fields in api.proto (kubernetes/cri-api, runtime.v1); what is
// not needed is left out, and passed over when it is read.

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersRequest {
    #[prost(message, optional, tag = "1")]
    filter: Option<ContainerFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerFilter {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    state: Option<ContainerStateValue>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ContainerStateValue {
    #[prost(int32, tag = "1")]
    state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    image_ref: String,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

/// Asks about one container; `None` where it is not known, or nobody listens.
pub async fn inspect(socket: &RuntimeSocket, id: ContainerId) -> io::Result<Option<ContainerInfo>> {
    let filter = ContainerFilter { id: id.to_string(), state: None };
    let found = list(socket, filter).await?;
    let mut found = found.into_iter().flatten();
    Ok(found.find(|c| ContainerId::parse(&c.id) == Some(id)).map(|c| info(&c)))
}

/// Tells what runs now. `false` where nobody listens, or where this is not spoken.
pub async fn follow(socket: &RuntimeSocket, mut heard: impl FnMut(Heard)) -> io::Result<bool> {
    let state = Some(ContainerStateValue { state: RUNNING });
    let filter = ContainerFilter { id: String::new(), state };
    let Some(running) = list(socket, filter).await? else { return Ok(false) };
    for container in &running {
        if let Some(id) = ContainerId::parse(&container.id) {
            heard(Heard::Container(id, info(container)));
        }
    }
    heard(Heard::Listed);
    Ok(true)
}

async fn list(
    socket: &RuntimeSocket,
    filter: ContainerFilter,
) -> io::Result<Option<Vec<Container>>> {
    // A channel does not tell what kept it from opening.
    if socket.open().await?.is_none() {
        return Ok(None);
    }
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.path.display()));
    let channel = endpoint.map_err(io::Error::other)?.connect_lazy();
    match ask(channel, ListContainersRequest { filter: Some(filter) }).await {
        Ok(response) => Ok(Some(response.containers)),
        // containerd without its CRI plugin, as Docker has it.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => Ok(None),
        Err(status) => Err(io::Error::other(status.to_string())),
    }
}

async fn ask(
    channel: Channel,
    request: ListContainersRequest,
) -> Result<ListContainersResponse, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = Uri::from_static(LIST).into_parts().path_and_query;
    let path = path.ok_or_else(|| Status::internal("no path"))?;
    let codec = ProstCodec::<ListContainersRequest, ListContainersResponse>::default();
    client.unary(Request::new(request), path, codec).await.map(|response| response.into_inner())
}

fn info(container: &Container) -> ContainerInfo {
    let image = container.image.as_ref();
    // The kubelet asks for an image by its digest, and says beside it what the pod has.
    let image = [
        image.map(|i| i.user_specified_image.as_str()),
        image.map(|i| i.image.as_str()),
        Some(container.image_ref.as_str()),
    ];
    let image = image.into_iter().flatten().find(|image| !image.is_empty()).unwrap_or_default();
    let name = container.metadata.as_ref().map_or("", |m| &m.name);
    ContainerInfo::of(name, image, |key| container.labels.get(key).map(String::as_str))
}

#[cfg(test)]
mod tests;
