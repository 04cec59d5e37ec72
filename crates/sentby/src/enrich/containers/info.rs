//! What is known about a container beside its id. Whoever makes containers and images chose
//! it: it is bounded here, and escaped where it is shown.

use std::fmt;

/// Digits of a container's id (a SHA-256).
const ID_DIGITS: usize = 64;

/// Longest name that is taken, in bytes. Kubernetes' are 253 at the most, and Docker's are
/// names of hosts mostly; one that is longer is left out rather than cut, since a beginning
/// may be another's name.
const MAX_NAME: usize = 256;

/// Longest reference of an image that is taken: a registry, a path of 255, a tag of 128, a digest.
const MAX_IMAGE: usize = 768;

/// A container's id, as runtimes of OCI give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContainerId([u8; ID_DIGITS / 2]);

impl ContainerId {
    /// Reads its digits; `None` where it is no such id (LXC's and systemd-nspawn's are names).
    pub fn parse(text: &str) -> Option<ContainerId> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let mut id = [0; ID_DIGITS / 2];
        if pairs.len() != id.len() {
            return None;
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(ContainerId(id))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a runtime says about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContainerInfo {
    /// Its name; in a pod the one that the pod's specification has for it.
    pub name: Option<String>,
    /// The image that it was made of, as it was asked for.
    pub image: Option<String>,
    /// The Kubernetes pod that it belongs to.
    pub pod: Option<String>,
    /// That pod's namespace.
    pub pod_namespace: Option<String>,
}

impl ContainerInfo {
    /// Of its name and image, and of the labels that a kubelet puts on it.
    pub fn of<'l>(name: &str, image: &str, label: impl Fn(&str) -> Option<&'l str>) -> Self {
        // Docker's names begin with a slash.
        let own = bounded(name.strip_prefix('/').unwrap_or(name), MAX_NAME);
        let label = |key| label(key).and_then(|value| bounded(value, MAX_NAME));
        ContainerInfo {
            name: label("io.kubernetes.container.name").or(own),
            image: bounded(image, MAX_IMAGE),
            pod: label("io.kubernetes.pod.name"),
            pod_namespace: label("io.kubernetes.pod.namespace"),
        }
    }

    /// As it was said in these words before: of a recording, or by another machine.
    pub fn again<'w>(word: impl Fn(&str) -> Option<&'w str>) -> Option<Self> {
        let info = ContainerInfo {
            name: word("container_name").and_then(|name| bounded(name, MAX_NAME)),
            image: word("container_image").and_then(|image| bounded(image, MAX_IMAGE)),
            pod: word("pod").and_then(|pod| bounded(pod, MAX_NAME)),
            pod_namespace: word("pod_namespace").and_then(|name| bounded(name, MAX_NAME)),
        };
        (info != ContainerInfo::default()).then_some(info)
    }
}

fn bounded(text: &str, most: usize) -> Option<String> {
    (!text.is_empty() && text.len() <= most).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_digits() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(ContainerId::parse(&text).unwrap().to_string(), text);
        let upper = text.to_ascii_uppercase();
        assert_eq!(ContainerId::parse(&upper), ContainerId::parse(&text));
        for wrong in ["", "web1", &text[1..], &format!("{text}00"), &text.replace('0', "g")] {
            assert_eq!(ContainerId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_pods_names_go_before_the_runtimes() {
        let plain = ContainerInfo::of("/web", "nginx:1.27", |_| None);
        assert_eq!(plain.name.as_deref(), Some("web"));
        assert_eq!((plain.image.as_deref(), plain.pod), (Some("nginx:1.27"), None));
        let pod = ContainerInfo::of("/k8s_app_web-0_shop_1234_0", "", |key| match key {
            "io.kubernetes.container.name" => Some("app"),
            "io.kubernetes.pod.name" => Some("web-0"),
            "io.kubernetes.pod.namespace" => Some("shop"),
            _ => None,
        });
        assert_eq!(pod.name.as_deref(), Some("app"));
        assert_eq!(
            (pod.pod.as_deref(), pod.pod_namespace.as_deref()),
            (Some("web-0"), Some("shop"))
        );
        assert_eq!(pod.image, None, "none is said");
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let long = "a".repeat(MAX_IMAGE + 1);
        let info = ContainerInfo::of(&long, &long, |_| Some(&long));
        assert_eq!(info, ContainerInfo::default());
        assert_eq!(ContainerInfo::again(|_| Some(&long)), None);
        assert!(ContainerInfo::again(|_| Some("a")).is_some());
    }
}
