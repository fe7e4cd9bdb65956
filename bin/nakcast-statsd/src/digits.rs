//! Numbers as JavaScript prints them.

use std::fmt::{self, Display, Write};

/// Shows a double as ECMAScript's `Number::toString` does (ECMA-262, 6.1.6.1.20): the shortest decimal that reads back the
/// same, with an exponent from 1e21 on and below 1e-6: `0.1`, `1e+21`, `1e-7`, `NaN`, `-Infinity`; `0` for negative zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Js(pub f64);

impl Display for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if !number.is_finite() {
            return f.write_str(match number {
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                _ => "NaN",
            });
        }
        // Whole numbers that are printed as such, as most are.
        if number.abs() < 1e15 && number.trunc() == number {
            return write!(f, "{}", number as i64);
        }
        // The standard library's digits are the shortest, and of several such one of the nearest: `d.ddde-7`.
        let mut text = Text { bytes: [0; 40], length: 0 };
        write!(text, "{number:e}")?;
        text.even(number);
        let text = text.as_str();
        let (mantissa, exponent) = text.split_once('e').ok_or(fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        f.write_str(sign)?;
        let after = rest.len() as i32;
        match exponent {
            21.. | ..-6 => {
                let point = if rest.is_empty() { "" } else { "." };
                write!(f, "{first}{point}{rest}e{exponent:+}")
            }
            0.. if exponent >= after => {
                write!(f, "{first}{rest}{:0<zeroes$}", "", zeroes = (exponent - after) as usize)
            }
            0.. => {
                let (whole, fraction) = rest.split_at(exponent as usize);
                write!(f, "{first}{whole}.{fraction}")
            }
            _ => write!(f, "0.{:0<zeroes$}{first}{rest}", "", zeroes = (-exponent - 1) as usize),
        }
    }
}

/// Room for any double: 17 digits, sign, point and exponent.
struct Text {
    bytes: [u8; 40],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        // Nothing else is written to it.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Of two that are as near, takes the even one: "If there are two such possible values of n, choose the one that is
    /// even", which is what JavaScript's engines do. That needs 16 digits or more: with fewer, no two decimals are as near to
    /// a double as to be read back as it.
    fn even(&mut self, number: f64) {
        let Some(exponent) = self.bytes[..self.length].iter().position(|&byte| byte == b'e') else { return };
        let last = self.bytes[exponent - 1];
        if exponent < 17 || last & 1 == 0 {
            return;
        }
        for other in [last - 1, last + 1] {
            // A 9 and one more would have been a shorter number.
            if !other.is_ascii_digit() {
                continue;
            }
            self.bytes[exponent - 1] = other;
            if self.as_str().parse() == Ok(number) && self.is_as_near(exponent, last.min(other), number) {
                return;
            }
        }
        self.bytes[exponent - 1] = last;
    }

    /// Whether the number is in the middle between this one and its neighbour, the lower of which ends in `lower`.
    #[cold]
    fn is_as_near(&self, exponent: usize, lower: u8, number: f64) -> bool {
        // No double has more digits.
        let exact = format!("{number:.800e}");
        let Some(rest) = exact.as_bytes().get(exponent..) else { return false };
        let rest = rest.split(|&byte| byte == b'e').next().unwrap_or_default();
        exact.as_bytes()[..exponent - 1] == self.bytes[..exponent - 1]
            && exact.as_bytes()[exponent - 1] == lower
            && rest[0] == b'5'
            && rest[1..].iter().all(|&digit| digit == b'0')
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_javascript_prints_them() {
        // Each right side is what node prints of the left.
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.0 / 3.0, "0.3333333333333333"),
            (100.0, "100"),
            (123_456_789.125, "123456789.125"),
            (1e15, "1000000000000000"),
            (1e20, "100000000000000000000"),
            (123e18, "123000000000000000000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (-1e21, "-1e+21"),
            (1e-6, "0.000001"),
            (1.25e-6, "0.00000125"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            // Two decimals are as near to each of these.
            (293_970_680_070_709.0 / 16.0, "18373167504419.312"),
            (-293_970_680_070_709.0 / 16.0, "-18373167504419.312"),
            (293_970_680_070_707.0 / 16.0, "18373167504419.188"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(Js(number).to_string(), expected);
        }
    }
}
