//! The streams between members: any bytes, in pieces as a socket would bring
//! them. What is read can be written, and reads the same again.
#![no_main]

use bytes::BytesMut;
use peer::codec::{Decoder, Encoder, Kind};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    for kind in [Kind::Message, Kind::MsgApp] {
        let mut decoder = Decoder::new(kind, 1, 2);
        let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
        'read: for piece in data.chunks(usize::from(step).max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => break 'read,
                }
            }
        }
        let (mut encoder, mut out) = (Encoder::new(Kind::Message), BytesMut::new());
        for message in &messages {
            encoder.encode(message, &mut out);
        }
        let mut again = Decoder::new(Kind::Message, 1, 2);
        for message in messages {
            // A message that is a sign of life is skipped on the way back.
            let alive = message.from == 0 && message.to == 0;
            if !alive {
                assert_eq!(again.decode(&mut out).ok().flatten(), Some(message));
            } else {
                return;
            }
        }
    }
});
