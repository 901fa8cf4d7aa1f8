//! How Milvus' streaming services refuse: a gRPC status whose details hold one `StreamingError`. Coordinator and nodes
//! decide by that error's code and not by gRPC's.

use prost::Message;
use tonic::{Code, Status};

use crate::pb::streaming::{StreamingCode, StreamingError};

/// What the details name the error by.
const TYPE_URL: &str = "type.googleapis.com/milvus.proto.streaming.StreamingError";

/// google.rpc.Status, which gRPC carries in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// The status that says `code`, with Milvus' choice of gRPC code.
pub fn refusal(code: StreamingCode, cause: impl Into<String>) -> Status {
    let error = StreamingError { code: code.into(), cause: cause.into() };
    let grpc = match code {
        StreamingCode::InvaildArgument => Code::InvalidArgument,
        StreamingCode::Inner => Code::Unavailable,
        StreamingCode::Unknown => Code::Unknown,
        _ => Code::FailedPrecondition,
    };
    let message = format!("{}: {}", code.as_str_name(), error.cause);
    let any = prost_types::Any { type_url: TYPE_URL.to_owned(), value: error.encode_to_vec() };
    let details = Details { code: grpc as i32, message: message.clone(), details: vec![any] };
    Status::with_details(grpc, message, details.encode_to_vec().into())
}

/// The streaming error that a status carries; none if it carries none, as after a lost connection.
pub fn streaming_error(status: &Status) -> Option<StreamingError> {
    let details = Details::decode(status.details()).ok()?;
    let found = details.details.iter().find(|any| any.type_url == TYPE_URL)?;
    StreamingError::decode(found.value.as_slice()).ok()
}

/// Its code.
pub fn streaming_code(status: &Status) -> Option<StreamingCode> {
    streaming_error(status).and_then(|error| StreamingCode::try_from(error.code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_again() {
        let status = refusal(StreamingCode::ChannelFenced, "term 4 is over");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "STREAMING_CODE_CHANNEL_FENCED: term 4 is over");
        let error = streaming_error(&status).unwrap();
        assert_eq!((error.code(), error.cause.as_str()), (StreamingCode::ChannelFenced, "term 4 is over"));
        assert_eq!(streaming_code(&status), Some(StreamingCode::ChannelFenced));
    }

    #[test]
    fn other_statuses_carry_none() {
        assert_eq!(streaming_code(&Status::unavailable("gone")), None);
        assert_eq!(streaming_code(&Status::with_details(Code::Unknown, "noise", vec![255, 1, 2].into())), None);
        let other = prost_types::Any { type_url: "type.googleapis.com/other".into(), value: vec![8, 2] };
        let details = Details { code: 2, message: String::new(), details: vec![other] };
        assert_eq!(streaming_code(&Status::with_details(Code::Unknown, "", details.encode_to_vec().into())), None);
    }
}
