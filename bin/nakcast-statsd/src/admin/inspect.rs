//! Objects of numbers as Node's `util.inspect` shows them, which is what the original's admin port answers with: a line of up to
//! 72 characters or one for each entry, arrays in columns, and their first hundred elements.

use crate::digits::Js;
use std::fmt::Write;

/// What an entry has.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A number.
    Number(f64),
    /// The first elements of an array (a hundred suffice), and how many it has in all.
    Array(Vec<f64>, usize),
}

/// The width of a line.
const WIDTH: usize = 80;

/// Elements of an array that are shown.
pub(super) const ELEMENTS: usize = 100;

/// An object, its entries in the order they came; names that are array indices come first, as JavaScript has them.
#[must_use]
pub fn object(entries: &[(&str, Shown)]) -> String {
    if entries.is_empty() {
        return "{}".into();
    }
    let mut indices = Vec::new();
    let mut others = Vec::new();
    for (name, shown) in entries {
        let entry = (key(name), shown);
        match index(name) {
            Some(index) => indices.push((index, entry)),
            None => others.push(entry),
        }
    }
    indices.sort_by_key(|&(index, _)| index);
    let ordered = indices.into_iter().map(|(_, entry)| entry).chain(others);
    let output = ordered.map(|(key, shown)| match shown {
        Shown::Number(value) => format!("{key}: {}", number(*value)),
        Shown::Array(values, count) => format!("{key}: {}", array(values, *count)),
    });
    braced(&output.collect::<Vec<_>>(), '{', '}', 0, true)
}

/// What an array's index may be: a whole number below 2^32 - 1, in its shortest form.
fn index(name: &str) -> Option<u32> {
    let index = name.parse::<u32>().ok().filter(|&index| index < u32::MAX)?;
    (index.to_string() == name).then_some(index)
}

fn number(value: f64) -> String {
    if value == 0.0 && value.is_sign_negative() { "-0".into() } else { Js(value).to_string() }
}

/// A name, in quotes unless it is one of JavaScript's identifiers.
fn key(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.chars().all(is_plain)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
    {
        return if name == "__proto__" { "['__proto__']".into() } else { name.into() };
    }
    let quote = match (name.contains('\''), name.contains('"'), name.contains('`') || name.contains("${")) {
        (true, false, _) => '"',
        (true, true, false) => '`',
        _ => '\'',
    };
    let mut text = String::from(quote);
    for letter in name.chars() {
        if letter == '\\' || (letter == quote && quote == '\'') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push(quote);
    text
}

fn array(values: &[f64], count: usize) -> String {
    if count == 0 {
        return "[]".into();
    }
    let output = values.iter().take(ELEMENTS).map(|&value| number(value)).collect::<Vec<_>>();
    let more = match count - output.len() {
        0 => None,
        1 => Some("... 1 more item".to_owned()),
        more => Some(format!("... {more} more items")),
    };
    let entries = output.len() + usize::from(more.is_some());
    let grouped = if entries > 6 { columns(&output, entries) } else { None };
    let in_columns = grouped.is_some();
    let mut output = grouped.unwrap_or(output);
    output.extend(more);
    braced(&output, '[', ']', 2, !in_columns)
}

/// Numbers in columns, one string for each row; `None` when they are to stay as they are. `entries` counts the line about
/// those left out, too.
fn columns(output: &[String], entries: usize) -> Option<Vec<String>> {
    const SEPARATOR: usize = 2;
    const INDENT: usize = 2;
    let total: usize = output.iter().map(|text| text.len() + SEPARATOR).sum();
    let longest = output.iter().map(String::len).max()?;
    let widest = longest + SEPARATOR;
    let few_are_long = total as f64 / widest as f64 > 5.0 || longest <= 6;
    if widest * 3 + INDENT >= WIDTH || !few_are_long {
        return None;
    }
    // As near to a square as letters of two and a half times their width in height come.
    let bias = (widest as f64 - total as f64 / entries as f64).sqrt();
    let width = (widest as f64 - 3.0 - bias).max(1.0);
    let square = ((2.5 * width * output.len() as f64).sqrt() / width).round() as usize;
    let columns = square.min((WIDTH - INDENT) / widest).min(12);
    if columns <= 1 {
        return None;
    }
    let width = |column| output.iter().skip(column).step_by(columns).map(String::len).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let row = |row: &[String]| {
        let mut text = String::new();
        for (at, (number, width)) in row.iter().zip(&widths).enumerate() {
            let comma = if at + 1 < row.len() { ", " } else { "" };
            // Writing to a string does not fail.
            let _ = write!(text, "{number:>width$}{comma}");
        }
        text
    };
    Some(output.chunks(columns).map(row).collect())
}

/// Entries in braces: on one line if they fit and may, or each on its own.
fn braced(output: &[String], open: char, close: char, indent: usize, may: bool) -> String {
    let start = output.len() + indent + 1 + 10;
    let total = output.iter().map(String::len).sum::<usize>() + output.len() + start;
    if may && total <= WIDTH && !output.iter().any(|text| text.contains('\n')) {
        return format!("{open} {} {close}", output.join(", "));
    }
    let space = " ".repeat(indent);
    format!("{open}\n{space}  {}\n{space}{close}", output.join(&format!(",\n{space}  ")))
}
