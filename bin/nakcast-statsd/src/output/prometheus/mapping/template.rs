//! Texts with references to what a pattern matched: `$1`, `${1}`, and for regular expressions `$name`.

/// A text in parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// What the group of this number matched; 0 is all of it.
    Group(usize),
}

impl Template {
    /// Reads one whose references `group` gives numbers. A reference without braces goes on as long as there are letters,
    /// digits and underscores. One to nothing is left out, and said beside the template.
    pub(super) fn read(text: &str, group: impl Fn(&str) -> Option<usize>) -> (Template, Vec<String>) {
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                plain.push('$');
                rest = behind;
                continue;
            }
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let (name, behind) = match rest.strip_prefix('{').and_then(|open| open.split_once('}')) {
                Some((name, behind)) if !name.is_empty() && name.chars().all(is_part) => (name, behind),
                _ => rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                plain.push('$');
                continue;
            }
            rest = behind;
            let Some(number) = group(name) else {
                let digits =
                    name.len() - name.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
                let hint = match name.split_at(digits) {
                    ("", _) | (_, "") => String::new(),
                    (number, text) => format!("; before text it is written ${{{number}}}{text}"),
                };
                problems.push(format!("nothing of the match is ${name}{hint}"));
                continue;
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Group(number));
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        (Template(parts), problems)
    }

    /// Its letters that are not references, in order; a reference is `None`.
    pub(super) fn letters(&self) -> impl Iterator<Item = Option<char>> {
        self.0.iter().flat_map(|part| match part {
            Part::Text(text) => text.chars().map(Some).collect(),
            Part::Group(_) => vec![None],
        })
    }

    /// With what the groups matched.
    pub(super) fn fill(&self, groups: &[&str]) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(number) => groups.get(*number).copied().unwrap_or_default().to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}
