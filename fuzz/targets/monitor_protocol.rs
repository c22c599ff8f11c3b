//! What a client of a monitor sends, in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let mut decoder = hako_monitor::protocol::Decoder::default();
    for piece in pieces {
        decoder.push(&piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            // What was understood is said again in the same words.
            let mut again = hako_monitor::protocol::Decoder::default();
            again.push(&frame.encode());
            assert!(matches!(again.next_frame(), Ok(Some(_))) && again.is_empty());
        }
    }
});
