//! Soft edges where audio breaks off or comes back in the middle of a word: a step in the waveform is heard as a click.

use crate::Format;

/// Length of an edge. [ms] Short enough to be no part of a word, long enough that its spectrum stays below a click's.
const EDGE_MS: u64 = 5;

/// Bytes of an edge.
pub(crate) const fn edge_bytes(format: Format) -> usize {
    format.bytes_in_ms(EDGE_MS)
}

/// Overwrites the start of `frame` with a ramp from `from` down to zero; `from` is the last sample that was heard.
///
/// # Realtime
/// 5 ms of samples, arithmetic only.
pub(crate) fn out_of(from: i16, frame: &mut [u8], format: Format) {
    ramp(frame, format, |_, gain| scale(from, 1.0 - gain));
}

/// Replaces the start of `frame` by a passage to it from `before`, which is [`edge_bytes`] long and goes on where the last
/// frame ended.
///
/// # Realtime
/// 5 ms of samples, arithmetic only.
pub(crate) fn across(before: &[u8], frame: &mut [u8], format: Format) {
    let mut before = before.chunks_exact(format.sample_bytes()).map(|bytes| f32::from(format.linear(bytes)));
    ramp(frame, format, |after, gain| {
        let before = before.next().unwrap_or(0.0);
        (before + (f32::from(after) - before) * gain) as i16
    });
}

/// Raises the start of `frame` from zero to its own loudness.
///
/// # Realtime
/// 5 ms of samples, arithmetic only.
pub(crate) fn into(frame: &mut [u8], format: Format) {
    ramp(frame, format, scale);
}

/// Replaces the first samples of `frame` by `shape(sample, gain)`, with a gain that rises from 0 to 1.
fn ramp(frame: &mut [u8], format: Format, mut shape: impl FnMut(i16, f32) -> i16) {
    let edge = edge_bytes(format).min(frame.len());
    let samples = edge / format.sample_bytes();
    for (number, bytes) in frame[..edge].chunks_exact_mut(format.sample_bytes()).enumerate() {
        let gain = (number as f32 + 0.5) / samples as f32;
        format.store(shape(format.linear(bytes), gain), bytes);
    }
}

fn scale(sample: i16, gain: f32) -> i16 {
    (f32::from(sample) * gain) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_have_no_step_in_any_encoding() {
        for format in [Format::ALAW, Format::ULAW, Format::slin(8000), Format::slin(16000)] {
            let mut frame = vec![format.silence_byte(); format.bytes_in_ms(20)];
            out_of(20000, &mut frame, format);
            let down: Vec<_> = frame.chunks(format.sample_bytes()).map(|bytes| format.linear(bytes)).collect();
            assert!(
                down[0] > 18000 && down.windows(2).all(|pair| pair[1] <= pair[0] && pair[0] - pair[1] < 1600),
                "{down:?}"
            );
            assert!(down[down.len() - 1].abs() <= 8);

            frame.chunks_mut(format.sample_bytes()).for_each(|bytes| format.store(20000, bytes));
            into(&mut frame, format);
            let up: Vec<_> = frame.chunks(format.sample_bytes()).map(|bytes| format.linear(bytes)).collect();
            assert!(up[0] < 1600 && up.windows(2).all(|pair| pair[1] >= pair[0]), "{up:?}");
        }
    }

    #[test]
    fn a_passage_from_one_wave_to_another_has_no_step() {
        for format in [Format::ALAW, Format::slin(16000)] {
            let mut before = vec![0; edge_bytes(format)];
            before.chunks_mut(format.sample_bytes()).for_each(|bytes| format.store(-12000, bytes));
            let mut frame = vec![0; format.bytes_in_ms(20)];
            frame.chunks_mut(format.sample_bytes()).for_each(|bytes| format.store(12000, bytes));
            across(&before, &mut frame, format);
            let wave: Vec<_> = frame.chunks(format.sample_bytes()).map(|bytes| format.linear(bytes)).collect();
            assert!(wave[0] < -11000 && wave[wave.len() - 1] > 11000, "{wave:?}");
            assert!(wave.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] - pair[0] < 1300), "{wave:?}");
        }
    }
}
