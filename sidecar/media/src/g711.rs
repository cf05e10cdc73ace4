//! ITU-T G.711: the two 8-bit laws of the telephone network.
//!
//! Decoding is a table of 256 entries; encoding is arithmetic on the segment number. Both directions follow the
//! Recommendation to the bit, so decode → encode gives the same code back for every code (µ-law has two zeros;
//! the negative one, `0x7F`, comes back as `0xFF`).

/// Linear value of every A-law code, scaled to 16 bits.
static ALAW_TO_SLIN: [i16; 256] = alaw_table();
/// Linear value of every µ-law code, scaled to 16 bits.
static ULAW_TO_SLIN: [i16; 256] = ulaw_table();

/// Linear value of an A-law code. One table look-up.
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_TO_SLIN[code as usize]
}

/// Linear value of a µ-law code. One table look-up.
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_TO_SLIN[code as usize]
}

/// Nearest A-law code of a linear value.
pub fn alaw_encode(sample: i16) -> u8 {
    // 13-bit magnitude; negative values mirror around −½ so that −1 and 0 fall on either side of zero.
    let (sign, magnitude) = if sample >= 0 { (0x80, sample >> 3) } else { (0, !sample >> 3) };
    let magnitude = magnitude as u16;
    let code = match magnitude {
        0..=31 => magnitude >> 1,
        _ => {
            let segment = 11 - magnitude.leading_zeros() as u16; // 32..=63 is segment 1
            (segment << 4) | ((magnitude >> segment) & 0x0F)
        }
    };
    (code as u8 | sign) ^ 0x55
}

/// Nearest µ-law code of a linear value; values beyond ±32635 clip.
pub fn ulaw_encode(sample: i16) -> u8 {
    const BIAS: u16 = 0x84; // 33 << 2: makes every segment a power of two
    const CLIP: u16 = 32635; // 32767 − BIAS
    let sign = if sample < 0 { 0x80 } else { 0 };
    let biased = sample.unsigned_abs().min(CLIP) + BIAS;
    let segment = 8 - biased.leading_zeros() as u16; // 0x84..=0xFF is segment 0
    let mantissa = (biased >> (segment + 3)) & 0x0F;
    !(sign | (segment << 4) as u8 | mantissa as u8)
}

const fn alaw_table() -> [i16; 256] {
    let mut out = [0; 256];
    let mut code = 0;
    while code < 256 {
        out[code] = alaw_expand(code as u8);
        code += 1;
    }
    out
}

const fn ulaw_table() -> [i16; 256] {
    let mut out = [0; 256];
    let mut code = 0;
    while code < 256 {
        out[code] = ulaw_expand(code as u8);
        code += 1;
    }
    out
}

const fn alaw_expand(code: u8) -> i16 {
    let code = code ^ 0x55;
    let mantissa = ((code & 0x0F) as i16) << 4;
    let segment = (code >> 4) & 0x07;
    let magnitude = match segment {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn ulaw_expand(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((((code & 0x0F) as i16) << 3) + 0x84) << ((code >> 4) & 0x07);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alaw_code_survives_a_round_trip() {
        for code in 0..=255u8 {
            assert_eq!(alaw_encode(alaw_decode(code)), code, "code {code:#04x}");
        }
    }

    #[test]
    fn every_ulaw_code_survives_a_round_trip_but_negative_zero() {
        for code in (0..=255u8).filter(|&code| code != 0x7F) {
            assert_eq!(ulaw_encode(ulaw_decode(code)), code, "code {code:#04x}");
        }
        assert_eq!(ulaw_encode(ulaw_decode(0x7F)), 0xFF);
    }

    #[test]
    fn anchor_values_are_those_of_the_recommendation() {
        // ITU-T G.711 tables 1a and 2a, scaled to 16 bits.
        assert_eq!(alaw_decode(0xD5), 8);
        assert_eq!(alaw_decode(0xAA), 32256);
        assert_eq!(alaw_decode(0x2A), -32256);
        assert_eq!(ulaw_decode(0xFF), 0);
        assert_eq!(ulaw_decode(0x80), 32124);
        assert_eq!(ulaw_decode(0x00), -32124);
    }

    #[test]
    fn encoding_never_errs_by_more_than_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            for (decoded, clip) in
                [(alaw_decode(alaw_encode(sample)), 32256 + 512), (ulaw_decode(ulaw_encode(sample)), 32635)]
            {
                let wanted = i32::from(sample).clamp(-clip, clip);
                let step = (wanted.abs() / 16).max(16);
                assert!((i32::from(decoded) - wanted).abs() <= step / 2 + 8, "{sample} became {decoded}");
            }
        }
    }
}
