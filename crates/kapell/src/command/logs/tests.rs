use super::*;

#[test]
fn bytes_stay_as_they_are_wherever_the_pieces_end() {
    let log = "größer\nkleiner\n".as_bytes();
    for (prefix, expected) in [("", "größer\nkleiner\n"), ("[a] ", "[a] größer\n[a] kleiner\n")] {
        for size in 1..=log.len() {
            let mut prefixed = Prefixed { prefix: prefix.to_owned(), at_line_start: true };
            let printed: Vec<u8> = log.chunks(size).flat_map(|piece| prefixed.lines(piece).into_owned()).collect();
            assert_eq!(String::from_utf8(printed).as_deref(), Ok(expected), "in pieces of {size}");
        }
    }
}
