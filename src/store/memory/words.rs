//! What of a text is indexed, and what of a query is looked for. No query is an error: what FTS5 would take
//! for syntax is a word here.

use std::fmt::Write as _;

/// Words of one query that are looked for; the rest is passed over, and the cost has an end.
const WORDS_MAX: usize = 32;

/// `text` as it goes into the index. FTS5 takes a run of Chinese, Japanese or Korean for one word, so that
/// nothing inside it is found: each of its characters becomes a word.
pub(super) fn indexed(text: &str) -> String {
    let mut apart = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // FTS5 ends a text there.
            '\0' => apart.push(' '),
            _ if stands_alone(character) => apart.extend([' ', character, ' ']),
            _ => apart.push(character),
        }
    }
    apart
}

/// The FTS5 expression for any of the words of `query`; what stands between double quotes is found as it
/// stands. `None` when there is nothing to look for.
pub(super) fn expression(query: &str) -> Option<String> {
    let mut sought: Vec<String> = Vec::new();
    for (at, part) in query.split('"').enumerate() {
        let words: Vec<&str> = if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() };
        for word in words {
            let word = indexed(word);
            if sought.len() < WORDS_MAX && word.contains(char::is_alphanumeric) && !sought.contains(&word) {
                sought.push(word);
            }
        }
    }
    let mut expression = String::new();
    for word in &sought {
        let or = if expression.is_empty() { "" } else { " OR " };
        // Infallible: the word holds no quote, for quotes parted it.
        let _ = write!(expression, "{or}\"{word}\"");
    }
    (!expression.is_empty()).then_some(expression)
}

/// Han, kana and Hangul syllables (Unicode 16, blocks).
fn stands_alone(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::{expression, indexed};

    #[test]
    fn syntax_is_words() {
        assert_eq!(expression("a AND b*").as_deref(), Some("\"a\" OR \"AND\" OR \"b*\""));
        assert_eq!(expression("say \"two words\" a a").as_deref(), Some("\"say\" OR \"two words\" OR \"a\""));
        assert_eq!(expression("\"open").as_deref(), Some("\"open\""));
        for nothing in ["", " ", "\"", "* - ^ : ( )", "\u{0}"] {
            assert_eq!(expression(nothing), None, "{nothing:?}");
        }
        assert_eq!(expression(&"x y ".repeat(10_000)).as_deref(), Some("\"x\" OR \"y\""));
    }

    #[test]
    fn scripts_without_spaces_are_parted() {
        assert_eq!(indexed("ab東京c"), "ab 東  京 c");
    }
}
