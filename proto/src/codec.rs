//! The codec of all services: as that of tonic, but a large message is read and written beside the async workers, for
//! everything else that a worker has in hand would wait for it.

use crate::off_worker::in_place;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::decode_varint;
use std::marker::PhantomData;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// Fields at the top of a client's message, of which many take a hundred times their bytes in memory: no call needs so many.
const MOST_FIELDS: usize = 1 << 16;

/// See the file's head. `T` is written, `U` is read.
pub struct ProstCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ProstCodec<T, U> {
    fn default() -> ProstCodec<T, U> {
        ProstCodec(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for ProstCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Writes<T>;
    type Decoder = Reads<U>;

    fn encoder(&mut self) -> Writes<T> {
        Writes(PhantomData)
    }

    fn decoder(&mut self) -> Reads<U> {
        Reads(PhantomData)
    }
}

/// Writes messages.
pub struct Writes<T>(PhantomData<T>);

impl<T: Message + 'static> Encoder for Writes<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Dropping a large message takes its time too.
        in_place(message.encoded_len(), move || message.encode(out))
            .map_err(|e| Status::new(Code::Internal, format!("the message cannot be written: {e}")))
    }
}

/// Reads messages.
pub struct Reads<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for Reads<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        in_place(bytes.remaining(), || {
            if is_of_clients::<U>() && !has_few_fields(bytes.chunk()) {
                let text = format!("the message has more than {MOST_FIELDS} fields");
                return Err(Status::new(Code::InvalidArgument, text));
            }
            // As tonic's own codec says it.
            U::decode(bytes).map(Some).map_err(|e| Status::new(Code::Internal, e.to_string()))
        })
    }
}

/// Whether a message is one of the public service. Those between processes may have as many fields as rows.
fn is_of_clients<U>() -> bool {
    std::any::type_name::<U>().contains("::milvus::proto::")
}

/// Counts the fields at the top of a message (Protocol Buffers, "Encoding"). What cannot be read is left to the decoder.
fn has_few_fields(mut bytes: &[u8]) -> bool {
    let mut count = 0;
    while !bytes.is_empty() {
        count += 1;
        if count > MOST_FIELDS {
            return false;
        }
        let Ok(key) = decode_varint(&mut bytes) else { return true };
        let skip = match key & 7 {
            0 => decode_varint(&mut bytes).map(|_| 0),
            1 => Ok(8),
            2 => decode_varint(&mut bytes),
            5 => Ok(4),
            // The fields of a group count one by one.
            3 | 4 => Ok(0),
            _ => return true,
        };
        let Some(rest) = skip.ok().and_then(|n| bytes.get(usize::try_from(n).ok()?..)) else { return true };
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milvus::{HybridSearchRequest, SearchRequest};

    #[test]
    fn fields_are_counted_as_they_stand() {
        let requests = |n| vec![SearchRequest { nq: 5, ..Default::default() }; n];
        let whole = |n| HybridSearchRequest { requests: requests(n), ..Default::default() }.encode_to_vec();
        assert!(has_few_fields(&whole(MOST_FIELDS)));
        assert!(!has_few_fields(&whole(MOST_FIELDS + 1)));
        assert!(!has_few_fields(&[0x2a, 0].repeat(MOST_FIELDS + 1)));
        assert!(!has_few_fields(&[vec![11, 12], [0x2a, 0].repeat(MOST_FIELDS + 1)].concat()));
        // A varint, eight bytes, four bytes, and what stands for nothing.
        assert!(has_few_fields(&[8, 0x80, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 13, 1, 2, 3, 4]));
        assert!(has_few_fields(&[0xff]) && has_few_fields(&[0x2a, 0x7f, 1]) && has_few_fields(&[7]));
        assert!(is_of_clients::<SearchRequest>() && !is_of_clients::<crate::node::SearchRequest>());
    }
}
