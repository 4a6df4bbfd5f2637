//! Selectors: what is read prints as something that is read as the same.
#![no_main]

use kapell_api::quantity::Quantity;
use kapell_api::selector::{FieldSelector, Selector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = Selector::parse(text) {
        let printed = selector.to_string();
        let again = Selector::parse(&printed).expect("what was printed can be read");
        assert_eq!(again.to_string(), printed);
    }
    let _ = FieldSelector::parse(text);
    if let Ok(quantity) = Quantity::parse(text) {
        assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
    }
});
