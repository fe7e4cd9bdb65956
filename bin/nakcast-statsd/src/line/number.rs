//! Numbers as they are written in lines.

/// Powers of ten that a double has exactly.
const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A decimal number, with or without sign, point and exponent; `None` for anything else, and for what is beyond a double.
///
/// Up to 15 digits without exponent are a whole number below 2^53 divided by a power of ten, both of which a double has
/// exactly, so that the one division rounds correctly (W. D. Clinger, "How to Read Floating Point Numbers Accurately",
/// 1990). All others are left to the standard library, which rounds correctly too.
#[must_use]
#[inline]
pub fn decimal(text: &[u8]) -> Option<f64> {
    match short(text) {
        Some((number, length)) if length == text.len() => Some(number),
        _ => any_decimal(text),
    }
}

/// A number at the beginning of a text, as far as it is exact by one division, and how many bytes it has.
#[inline]
pub(super) fn short(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let (mut whole, mut point, mut length) = (0_u64, None, 0);
    for &byte in digits.iter().take(17) {
        match byte {
            b'0'..=b'9' => whole = whole * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(length),
            _ => break,
        }
        length += 1;
    }
    let number = match point {
        None if (1..=15).contains(&length) => whole as f64,
        Some(at) if (2..=16).contains(&length) => whole as f64 / POWERS[length - 1 - at],
        _ => return None,
    };
    Some((if negative { -number } else { number }, text.len() - digits.len() + length))
}

#[cold]
fn any_decimal(text: &[u8]) -> Option<f64> {
    // The standard library would take `inf` and `nan`.
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A rate in (0, 1]; it has no sign.
pub(super) fn rate(text: &[u8]) -> Option<f64> {
    if matches!(text.first(), Some(b'+' | b'-')) {
        return None;
    }
    // Of a rate below 1e-308 the reciprocal is no number.
    decimal(text).filter(|&rate| rate > 0.0 && rate <= 1.0 && (1.0 / rate).is_finite())
}

/// A whole number without sign.
pub(super) fn whole(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_as_the_standard_library_reads_them() {
        for text in [
            "0",
            "-0",
            "1",
            "+1",
            "-1",
            "1.5",
            ".5",
            "5.",
            "-.25",
            "123456789012345",
            "999999999999999",
            "1234567890123456",
            "0.1234567890123",
            "0.12345678901234",
            "0.123456789012345",
            "12345678901234.5",
            "0.000000000000001",
            "1e3",
            "1E-7",
            "-2.5e+10",
            "9007199254740993",
            "3.14159265358979323846",
            "320",
            "0.1",
        ] {
            let expected = text.parse::<f64>().unwrap();
            assert_eq!(decimal(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        for text in [
            "", "+", "-", ".", "-.", "nan", "NaN", "inf", "Infinity", "-inf", "0x10", "1,5", "1e", "e5",
            "--1", "1..2", "1.2.3", " 1", "1 ", "1e400", "-1e400", "1_000", "\u{661}", "+-1",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_rate_is_above_0_and_at_most_1() {
        assert_eq!(rate(b"1"), Some(1.0));
        assert_eq!(rate(b"0.1"), Some(0.1));
        assert_eq!(rate(b".5"), Some(0.5));
        assert_eq!(rate(b"1e-3"), Some(0.001));
        for text in ["0", "+1", "-0.1", "1.0001", "2", "Infinity", "nan", "", "1e-310", "0.0"] {
            assert_eq!(rate(text.as_bytes()), None, "{text}");
        }
    }
}
