//! WAV files, as far as telephone sounds come in them: one channel of 16-bit PCM or G.711.
//!
//! Written here because it is a dozen fields, and the usual library's licence (Apache-2.0 alone) does not go with GPL-2.0.
//! Format: Microsoft and IBM, Multimedia Programming Interface and Data Specifications 1.0 (1991), and RFC 2361.

use ai_media::Format;

/// Sample rates that are taken. [Hz]
const RATES: std::ops::RangeInclusive<u32> = 8000..=192_000;

/// Format and audio of a file.
pub(super) fn parse(file: &[u8]) -> Result<(Format, Vec<u8>), String> {
    if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err("this is no WAV file".to_owned());
    }
    let mut rest = &file[12..];
    let mut format = None;
    while let (Some(name), Some(length)) = (rest.get(..4), rest.get(4..8).and_then(|bytes| bytes.first_chunk())) {
        let length = u32::from_le_bytes(*length) as usize;
        let body = &rest[8..];
        match (name, format) {
            (b"fmt ", _) => format = Some(header(body)?),
            // A program that writes to a pipe does not know the length: the data then goes to the end of the file.
            (b"data", Some(format)) => return Ok((format, body[..length.min(body.len())].to_vec())),
            (b"data", None) => return Err("the WAV file does not say what is in it".to_owned()),
            _ => {}
        }
        // Chunks begin at even places.
        rest = body.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    Err("there is no audio in the WAV file".to_owned())
}

fn header(body: &[u8]) -> Result<Format, String> {
    let number = |at: usize| body.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let (mut coding, channels, bits) = (number(0), number(2), number(14));
    if coding == 0xFFFE {
        // WAVE_FORMAT_EXTENSIBLE: what it really is stands in the sub-format.
        coding = number(24);
    }
    let rate_hz = u32::from(number(4)) | u32::from(number(6)) << 16;
    if channels != 1 {
        return Err(format!("the WAV file has {channels} channels; one is allowed"));
    }
    if !RATES.contains(&rate_hz) {
        return Err(format!("{rate_hz} Hz; allowed are {} to {} Hz", RATES.start(), RATES.end()));
    }
    match (coding, bits, rate_hz) {
        (1, 16, _) => Ok(Format::slin(rate_hz)),
        (6, 8, 8000) => Ok(Format::ALAW),
        (7, 8, 8000) => Ok(Format::ULAW),
        _ => Err(format!("coding {coding} of {bits} bits at {rate_hz} Hz; 16-bit PCM and 8 kHz G.711 are allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(coding: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        for field in [coding, channels, rate_hz as u16, (rate_hz >> 16) as u16, 0, 0, 0, bits] {
            file.extend(field.to_le_bytes());
        }
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn pcm_and_g711_are_read_and_other_chunks_passed_over() {
        let mut file = wav(1, 1, 16_000, 16, &[1, 2, 3, 4]);
        file.extend(b"after the data");
        assert_eq!(parse(&file), Ok((Format::slin(16_000), vec![1, 2, 3, 4])));
        assert_eq!(parse(&wav(6, 1, 8000, 8, &[5])), Ok((Format::ALAW, vec![5])));
        assert_eq!(parse(&wav(7, 1, 8000, 8, &[5])), Ok((Format::ULAW, vec![5])));
        let mut endless = wav(1, 1, 8000, 16, &[1, 2]);
        let at = endless.len() - 6;
        endless[at..at + 4].copy_from_slice(&[0xFF; 4]);
        assert_eq!(parse(&endless), Ok((Format::slin(8000), vec![1, 2])));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = [
            (wav(1, 2, 8000, 16, &[]), "2 channels"),
            (wav(1, 1, 8000, 8, &[]), "coding 1 of 8 bits"),
            (wav(85, 1, 8000, 0, &[]), "coding 85"),
            (wav(1, 1, 10, 16, &[]), "10 Hz; allowed are 8000 to 192000 Hz"),
            (b"RIFF\0\0\0\0WAVE".to_vec(), "no audio"),
            (b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(), "does not say"),
            (b"ID3".to_vec(), "no WAV file"),
        ];
        for (file, words) in wrong {
            let problem = parse(&file).expect_err(words);
            assert!(problem.contains(words), "{problem}");
        }
        let whole = wav(1, 1, 16_000, 16, &[1, 2, 3, 4]);
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
    }
}
