//! Responses that are encoded before tonic sees them: a codec that takes requests apart as usual and copies what is
//! sent. One response for thousands of listeners is encoded once that way.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

/// The bytes of one message.
pub trait Encoded: Send + 'static {
    fn encoded_len(&self) -> usize;

    fn put(self, buffer: &mut impl BufMut);
}

impl Encoded for Bytes {
    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn put(self, buffer: &mut impl BufMut) {
        buffer.put(self);
    }
}

/// See the module. Of a streaming method that answers `Response` to `Request`.
pub struct EncodedCodec<Response, Request> {
    sending: BufferSettings,
    types: PhantomData<fn(Request) -> Response>,
}

impl<Response, Request> EncodedCodec<Response, Request> {
    /// `buffer`: bytes that are made room for at first; `write`: bytes that go to the connection at once.
    pub fn new(buffer: usize, write: usize) -> Self {
        EncodedCodec { sending: BufferSettings::new(buffer, write), types: PhantomData }
    }
}

impl<Response, Request> Codec for EncodedCodec<Response, Request>
where
    Response: Encoded,
    Request: Message + Default + Send + 'static,
{
    type Encode = Response;
    type Decode = Request;
    type Encoder = EncodedEncoder<Response>;
    type Decoder = <ProstCodec<Request, Request> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        EncodedEncoder { sending: self.sending, response: PhantomData }
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<Request, Request>::raw_decoder(BufferSettings::default())
    }
}

/// The half that sends.
pub struct EncodedEncoder<Response> {
    sending: BufferSettings,
    response: PhantomData<fn() -> Response>,
}

impl<Response: Encoded> Encoder for EncodedEncoder<Response> {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(response.encoded_len());
        response.put(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.sending
    }
}
