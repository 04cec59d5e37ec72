//! What of a target may be shown: no user or password ever, no values of the query
//! unless the user wants them.
//!
//! A target that is cut shows a beginning of what the whole one would: whatever the
//! missing part might turn into a secret is left out.

use crate::start::Bytes;
use std::borrow::Cow;

/// Stands for user and password.
const USERINFO: &[u8] = b"***@";

/// Longest name of a value in a query. Longer ones are more likely a secret whose
/// padding looks like the sign between name and value.
const MAX_NAME: usize = 64;

/// What names of values consist of; `:`, `/` and `@` may belong to a URL with a password.
const NAME: Bytes =
    Bytes::of(b"_-.~[]%+$!()").and_range(b'0', b'9').and_range(b'A', b'Z').and_range(b'a', b'z');

/// Whether a target is a whole URL.
pub(super) fn has_scheme(target: &[u8]) -> bool {
    after_scheme(target).is_some()
}

/// Where the authority of a whole URL begins.
pub(super) fn after_scheme(target: &[u8]) -> Option<usize> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    let len = target.iter().take_while(|b| plain(b)).count();
    (len > 0 && target[len..].starts_with(b"://")).then_some(len + 3)
}

/// The host and port that a URL or authority names, if it is well formed.
pub(super) fn host(target: &[u8], cut: bool) -> Option<&[u8]> {
    let authority = &target[after_scheme(target).unwrap_or(0)..];
    let len = authority_len(authority);
    let host = host_only(&authority[..len]);
    let unknown = cut && len == authority.len() || host.is_empty() || !has_port(host);
    (!unknown).then_some(host)
}

/// What comes after user and password, and before a path: what belongs into a Host
/// header.
pub(super) fn host_only(value: &[u8]) -> &[u8] {
    let begin = last_at(value).map_or(0, |at| at + 1);
    let host = &value[begin..];
    &host[..authority_len(host)]
}

fn authority_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| b"/?#".contains(b)).unwrap_or(bytes.len())
}

fn last_at(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|b| *b == b'@')
}

/// Whether what follows the last colon, if any, is a port. If not, it may be a password
/// with a character in it that seems to end the authority.
fn has_port(host: &[u8]) -> bool {
    // An address has colons of its own; after a URL inside a query the query goes on.
    let name_end = host.iter().rposition(|b| *b == b']').unwrap_or(0);
    let Some(colon) = host[name_end..].iter().rposition(|b| *b == b':') else { return true };
    let mut port = host[name_end + colon + 1..].iter().take_while(|b| **b != b'&');
    port.all(u8::is_ascii_digit)
}

/// The target as it may be shown.
pub(super) fn target(target: &[u8], full_url: bool, cut: bool) -> Cow<'_, [u8]> {
    let suspect = |b: &u8| match b {
        b'@' | b':' => true,
        b'?' | b'#' => !full_url,
        _ => false,
    };
    let is_path = target.starts_with(b"/");
    if !target.iter().any(suspect) && (is_path || !cut) {
        return Cow::Borrowed(target);
    }
    let query = target.iter().position(|b| b"?#".contains(b)).filter(|_| !full_url);
    let (path, query) = target.split_at(query.unwrap_or(target.len()));
    let mut shown = Vec::with_capacity(target.len() + USERINFO.len());
    without_userinfo(path, !is_path, cut && query.is_empty(), &mut shown);
    without_values(query, cut, &mut shown);
    if target.starts_with(&shown) {
        return Cow::Borrowed(&target[..shown.len()]);
    }
    Cow::Owned(shown)
}

/// Shows text without the userinfo of the URLs in it: also of those inside a path, which
/// gateways are sent.
fn without_userinfo(text: &[u8], is_url: bool, cut: bool, shown: &mut Vec<u8>) {
    let mut rest = text;
    if is_url {
        let begin = after_scheme(text).unwrap_or(0);
        shown.extend_from_slice(&text[..begin]);
        let Some(after) = without_password(&text[begin..], cut, shown) else { return };
        rest = after;
    }
    while let Some(at) = rest.windows(3).position(|three| three == b"://") {
        let (before, authority) = rest.split_at(at + 3);
        shown.extend_from_slice(before);
        let Some(after) = without_password(authority, cut, shown) else { return };
        rest = after;
    }
    shown.extend_from_slice(rest);
}

/// Shows the authority that the text begins with; what is left, unless nothing more may
/// be shown.
fn without_password<'a>(text: &'a [u8], cut: bool, shown: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (authority, rest) = text.split_at(authority_len(text));
    if cut && rest.is_empty() {
        return None;
    }
    let host = host_only(authority);
    if has_port(host) {
        if host.len() < authority.len() {
            shown.extend_from_slice(USERINFO);
        }
        shown.extend_from_slice(host);
        return Some(rest);
    }
    // A password that goes on behind what seemed to end it, perhaps up to the last `@`.
    shown.extend_from_slice(b"***");
    match last_at(text) {
        _ if cut => None,
        Some(at) => Some(&text[at..]),
        None => Some(rest),
    }
}

/// Shows `?name=*&name=*#*` for a query and fragment.
fn without_values(text: &[u8], cut: bool, shown: &mut Vec<u8>) {
    let hash = text.iter().position(|b| *b == b'#');
    let (query, fragment) = text.split_at(hash.unwrap_or(text.len()));
    if let Some(query) = query.strip_prefix(b"?") {
        let mut sign = b'?';
        let mut params = query.split(|b| *b == b'&').peekable();
        while let Some(param) = params.next() {
            shown.push(sign);
            sign = b'&';
            let open = cut && fragment.is_empty() && params.peek().is_none();
            without_value(param, open, shown);
        }
    }
    if let Some(fragment) = fragment.strip_prefix(b"#") {
        shown.push(b'#');
        if !fragment.is_empty() {
            shown.push(b'*');
        }
    }
}

/// Shows one `name=*`. Without a value after it a name may be a value itself.
fn without_value(param: &[u8], open: bool, shown: &mut Vec<u8>) {
    let name_len = param.iter().position(|b| *b == b'=').unwrap_or(param.len());
    let (name, value) = param.split_at(name_len);
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.iter().all(|b| NAME.has(*b));
    if value.iter().all(|b| *b == b'=') || !is_name {
        // While the value may still come, what is before it may still become a name.
        if !param.is_empty() && !open {
            shown.push(b'*');
        }
        return;
    }
    shown.extend_from_slice(name);
    shown.extend_from_slice(b"=*");
}
