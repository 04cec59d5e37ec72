//! What became of records that were sent: the rules of the OTLP specification ("Failures",
//! "Retryable Response Codes"), as functions of the answer.

use super::client::chain;
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use prost::bytes::Bytes;
use std::error::Error;
use std::fmt;
use std::time::Duration;
use tonic::Code;

/// The collector took records, but perhaps not all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many it did not take.
    pub rejected: u64,
    /// What it says about that.
    pub message: String,
}

impl Sent {
    /// All of them.
    pub const ALL: Sent = Sent { rejected: 0, message: String::new() };

    /// What an answer says.
    pub fn of(answer: ExportLogsServiceResponse) -> Sent {
        let partial = answer.partial_success.unwrap_or_default();
        let rejected = partial.rejected_log_records.try_into().unwrap_or(0);
        Sent { rejected, message: partial.error_message }
    }
}

/// The collector took none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub why: String,
    /// Whether it may take them another time.
    pub again: bool,
    /// How long it wants not to be asked.
    pub after: Option<Duration>,
}

impl Failure {
    /// They may be sent again.
    pub fn again(why: String) -> Failure {
        Failure { why, again: true, after: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Failure {}

/// The body of a good answer: empty, or the message. Anything else tells nothing.
pub fn of_answer(body: Bytes) -> Sent {
    ExportLogsServiceResponse::decode(body).map_or(Sent::ALL, Sent::of)
}

/// An answer by HTTP that is not good.
pub fn of_status(status: StatusCode, headers: &HeaderMap) -> Failure {
    let again = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    let after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    Failure { why: status.to_string(), again: again.contains(&status), after }
}

/// Seconds, or a date (RFC 9110 section 10.2.3); one that is past says nothing.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    date.duration_since(jiff::Timestamp::now()).try_into().ok()
}

/// A status of gRPC that is not OK.
pub fn of_call(status: &tonic::Status) -> Failure {
    // Somebody answered who speaks no gRPC.
    if let Some(failure) = status.source().and_then(|source| source.downcast_ref::<Failure>()) {
        return failure.clone();
    }
    let after = retry_info(status.details());
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // Nobody answered: it was made on this side.
        _ => status.source().is_some(),
    };
    let why = match status.source() {
        Some(source) => chain(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    Failure { why, again, after }
}

/// `google.rpc.Status` (google/rpc/status.proto), as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo` (google/rpc/error_details.proto).
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?.details;
    let info = details.iter().find(|d| d.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(delay.seconds.try_into().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    fn asked(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))])
    }

    #[test]
    fn four_answers_by_http_are_worth_another_try() {
        let again = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            of_status(status, &HeaderMap::new()).again
        };
        let all: Vec<u16> = (300..600).filter(|code| again(*code)).collect();
        assert_eq!(all, [429, 502, 503, 504]);
    }

    #[test]
    fn a_server_says_when_in_seconds_or_as_a_date() {
        let after = |value| of_status(StatusCode::SERVICE_UNAVAILABLE, &asked(value)).after;
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        let far = after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(86400 * 365), "{far:?}");
        assert_eq!([after("-1"), after("soon"), after("")], [None; 3]);
    }

    fn details(seconds: i64, nanos: i32) -> Bytes {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) };
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let details = vec![Detail { type_url, value: info.encode_to_vec() }];
        Details { details }.encode_to_vec().into()
    }

    #[test]
    fn of_the_codes_of_grpc_those_in_the_specification_are_worth_another_try() {
        let again = |code: i32| of_call(&tonic::Status::new(Code::from(code), "")).again;
        let all: Vec<i32> = (1..=16).filter(|code| again(*code)).collect();
        assert_eq!(all, [1, 4, 10, 11, 14, 15]);
        let exhausted = tonic::Status::with_details(Code::ResourceExhausted, "", details(3, 5));
        let failure = of_call(&exhausted);
        assert_eq!((failure.again, failure.after), (true, Some(Duration::new(3, 5))));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, i32::MAX)] {
            assert_eq!(retry_info(&details(seconds, nanos)), None);
        }
        assert_eq!(retry_info(b"\xff\xff"), None);
    }

    #[test]
    fn what_a_proxy_says_by_http_counts_for_a_call_too() {
        for code in [StatusCode::BAD_GATEWAY, StatusCode::NOT_FOUND] {
            let failure = of_status(code, &asked("7"));
            let status = tonic::Status::from_error(Box::new(failure.clone()));
            assert_eq!(of_call(&status), failure);
        }
    }

    #[test]
    fn an_answer_may_reject_some() {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
        let answer = |rejected_log_records| {
            let error_message = "too old".to_owned();
            let partial = ExportLogsPartialSuccess { rejected_log_records, error_message };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!(of_answer(answer(3).into()).rejected, 3);
        assert_eq!(of_answer(answer(-3).into()).rejected, 0);
        assert_eq!(of_answer(Bytes::new()), Sent::ALL);
        assert_eq!(of_answer(Bytes::from_static(b"{}\xff")), Sent::ALL);
    }
}
