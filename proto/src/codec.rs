//! The codec of all services: as that of tonic, but a large message is read and written beside the async workers, for
//! everything else that a worker has in hand would wait for it.

use crate::off_worker::{SMALL, in_place};
use crate::shape::fits;
use prost::bytes::Buf;
use prost::{Message, Name};
use std::marker::PhantomData;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// Memory that a client's message may take, about: so many times what it has on the wire, and at least so much.
const MEMORY_TIMES: usize = 8;
const LEAST_MEMORY: usize = 512 << 20;

/// See the file's head. `T` is written, `U` is read.
pub struct ProstCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ProstCodec<T, U> {
    fn default() -> ProstCodec<T, U> {
        ProstCodec(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Name + Default + Send + 'static> Codec for ProstCodec<T, U> {
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

impl<U: Message + Name + Default + 'static> Decoder for Reads<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        in_place(bytes.remaining(), || {
            // Of a small one no more can come than a worker has room for.
            let size = bytes.remaining();
            let most = LEAST_MEMORY.max(size.saturating_mul(MEMORY_TIMES));
            if size > SMALL && is_of_clients::<U>() && !fits(&U::full_name(), bytes.chunk(), most) {
                let text = format!(
                    "the message of {size} bytes would take more than {most} bytes in memory: send less at once"
                );
                return Err(Status::new(Code::InvalidArgument, text));
            }
            // As tonic's own codec says it.
            U::decode(bytes).map(Some).map_err(|e| Status::new(Code::Internal, e.to_string()))
        })
    }
}

/// Whether a message is one of the public service. What processes say to each other was counted when it was made.
fn is_of_clients<U: Name>() -> bool {
    U::PACKAGE.starts_with("milvus.proto.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milvus::SearchRequest;

    #[test]
    fn only_what_clients_send_is_looked_at() {
        assert!(is_of_clients::<SearchRequest>() && !is_of_clients::<crate::node::SearchRequest>());
    }
}
