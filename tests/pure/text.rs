//! Characters that show nothing.

use salon::base::text::is_invisible;

#[test]
fn characters_that_show_nothing() {
    for range in [
        // Control characters, white space, lines and paragraphs.
        '\0'..='\u{20}',
        '\u{7f}'..='\u{a0}',
        '\u{1680}'..='\u{1680}',
        '\u{2000}'..='\u{200a}',
        '\u{2028}'..='\u{2029}',
        '\u{202f}'..='\u{202f}',
        '\u{205f}'..='\u{205f}',
        '\u{3000}'..='\u{3000}',
        // Soft hyphen, grapheme joiner, fillers of Hangul, Khmer and Mongolian, Braille without dots.
        '\u{ad}'..='\u{ad}',
        '\u{34f}'..='\u{34f}',
        '\u{115f}'..='\u{1160}',
        '\u{17b4}'..='\u{17b5}',
        '\u{180b}'..='\u{180f}',
        '\u{2800}'..='\u{2800}',
        '\u{3164}'..='\u{3164}',
        '\u{ffa0}'..='\u{ffa0}',
        // Joiners, marks of direction, invisible operators.
        '\u{200b}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{61c}'..='\u{61c}',
        '\u{feff}'..='\u{feff}',
        // Variation selectors, tags, and what is reserved for more of them.
        '\u{fe00}'..='\u{fe0f}',
        '\u{fff0}'..='\u{fffb}',
        '\u{e0000}'..='\u{e0fff}',
        // The other format characters, of scripts and of music.
        '\u{600}'..='\u{605}',
        '\u{6dd}'..='\u{6dd}',
        '\u{70f}'..='\u{70f}',
        '\u{890}'..='\u{891}',
        '\u{8e2}'..='\u{8e2}',
        '\u{110bd}'..='\u{110bd}',
        '\u{110cd}'..='\u{110cd}',
        '\u{13430}'..='\u{1343f}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d159}'..='\u{1d159}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{16fe4}'..='\u{16fe4}',
    ] {
        range.for_each(|character| assert!(is_invisible(character), "{character:?}"));
    }
}

/// All of ASCII, letters and symbols beside the ranges above, characters of other planes, and what stands for a bad one.
#[test]
fn characters_that_show_something() {
    let neighbours = "\u{a1}\u{ac}\u{ae}\u{34e}\u{350}\u{606}\u{115e}\u{1161}\u{180a}\u{1810}\u{2010}\u{2027}\u{2030}\u{205e}\
                      \u{2070}\u{27ff}\u{2801}\u{3001}\u{3163}\u{3165}\u{fe10}\u{ff9f}\u{ffa1}\u{fffc}\u{fffd}\u{13440}";
    let others = "éßжאع中かアㅎ👍🏽\u{301}\u{e000}";
    for character in ('!'..='~').chain(neighbours.chars()).chain(others.chars()) {
        assert!(!is_invisible(character), "{character:?}");
    }
}
