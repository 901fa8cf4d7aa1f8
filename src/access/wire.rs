//! Fields of a request by their numbers, without decoding the rest: the check needs a name or two of a message that may
//! hold megabytes, and the service decodes it anyway.

use prost::encoding::{WireType, decode_key, decode_varint};

/// The bytes are not a protobuf message: whoever decodes them refuses them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not decode")]
pub struct Malformed;

/// Compression flag and length of a gRPC message.
pub const FRAME_HEADER: usize = 5;

/// The message of a unary call's body. `None`: it is compressed, cut off, or more than one.
pub fn message(body: &[u8]) -> Option<&[u8]> {
    let (header, message) = body.split_at_checked(FRAME_HEADER)?;
    let (flag, length) = header.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*flag == 0 && usize::try_from(length) == Ok(message.len())).then_some(message)
}

/// Every occurrence of a length-delimited field, in order. Of a field that is not repeated the last one counts.
pub fn occurrences(message: &[u8], number: u32) -> Result<Vec<&[u8]>, Malformed> {
    let mut found = Vec::new();
    scan(message, |field, value| {
        if let (true, Value::Bytes(bytes)) = (field == number, value) {
            found.push(bytes);
        }
    })?;
    Ok(found)
}

/// An integer field that is not repeated; 0 if it is not there.
pub fn integer(message: &[u8], number: u32) -> Result<i64, Malformed> {
    let mut last = 0;
    scan(message, |field, value| {
        if let (true, Value::Varint(varint)) = (field == number, value) {
            last = varint.cast_signed();
        }
    })?;
    Ok(last)
}

/// What a field holds, as far as it is looked at here.
enum Value<'m> {
    Varint(u64),
    Bytes(&'m [u8]),
    Fixed,
}

/// Shows every field in order.
fn scan<'m>(message: &'m [u8], mut see: impl FnMut(u32, Value<'m>)) -> Result<(), Malformed> {
    let mut rest = message;
    while !rest.is_empty() {
        let (field, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
        let mut varint = || decode_varint(&mut rest).map_err(|_| Malformed);
        let (length, fixed) = match wire_type {
            WireType::Varint => {
                see(field, Value::Varint(varint()?));
                continue;
            }
            WireType::ThirtyTwoBit => (4, true),
            WireType::SixtyFourBit => (8, true),
            WireType::LengthDelimited => (usize::try_from(varint()?).map_err(|_| Malformed)?, false),
            // No message of Milvus has groups.
            WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
        };
        let (bytes, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
        see(field, if fixed { Value::Fixed } else { Value::Bytes(bytes) });
        rest = behind;
    }
    Ok(())
}

/// A message in a field, if it is there.
pub fn field(message: &[u8], number: u32) -> Option<&[u8]> {
    occurrences(message, number).ok()?.pop()
}

/// Every occurrence as text.
pub fn texts(message: &[u8], number: u32) -> Result<Vec<&str>, Malformed> {
    occurrences(message, number)?.into_iter().map(|bytes| std::str::from_utf8(bytes).map_err(|_| Malformed)).collect()
}

/// A field that is not repeated; empty if it is not there.
pub fn text(message: &[u8], number: u32) -> Result<&str, Malformed> {
    Ok(texts(message, number)?.pop().unwrap_or_default())
}

/// The text `inner` within the message that is field `outer`: occurrences of a message are merged.
pub fn nested_text(message: &[u8], outer: u32, inner: u32) -> Result<&str, Malformed> {
    let mut last = "";
    for part in occurrences(message, outer)? {
        if let Some(text) = texts(part, inner)?.pop() {
            last = text;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::pb::milvus::{CreateCollectionRequest, SelectUserRequest, UserEntity};

    #[test]
    fn fields_as_prost_reads_them() {
        let user = |name: &str| Some(UserEntity { name: name.into() });
        let request = SelectUserRequest { user: user("a"), include_role_info: true, ..Default::default() };
        let mut bytes = request.encode_to_vec();
        bytes.extend(SelectUserRequest { user: user("b"), ..Default::default() }.encode_to_vec());
        assert_eq!(nested_text(&bytes, 2, 1), Ok("b"));
        assert_eq!(SelectUserRequest::decode(&*bytes).unwrap().user, user("b"));
        assert_eq!(text(&[], 3), Ok(""));
        assert_eq!((integer(&[0x20, 7, 0x20, 9], 4), integer(&[0x20, 7], 3)), (Ok(9), Ok(0)));
        assert_eq!(message(&[0, 0, 0, 0, 1, 7]), Some(&[7][..]));
        for wrong in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 1, 7], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 1, 7, 7]] {
            assert_eq!(message(wrong), None);
        }
    }

    proptest! {
        /// What prost decodes is found, whatever the bytes; what prost refuses never leads to a panic.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let found = text(&bytes, 3);
            if let (Ok(request), Ok(name)) = (CreateCollectionRequest::decode(&*bytes), found) {
                prop_assert_eq!(request.collection_name, name);
            }
        }

        #[test]
        fn any_request(db_name in ".*", collection_name in ".*", schema: Vec<u8>, shards_num: i32) {
            let unset = CreateCollectionRequest::default();
            let request = CreateCollectionRequest { db_name, collection_name, schema, shards_num, ..unset };
            let bytes = request.encode_to_vec();
            prop_assert_eq!(text(&bytes, 2), Ok(request.db_name.as_str()));
            prop_assert_eq!(text(&bytes, 3), Ok(request.collection_name.as_str()));
        }
    }
}
