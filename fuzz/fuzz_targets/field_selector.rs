//! Field selectors: what is read prints as something that is read as the same, and means the same.
#![no_main]

use kapell_api::selector::FieldSelector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let printed = selector.to_string();
    assert_eq!(FieldSelector::parse(&printed).as_ref(), Ok(&selector), "{printed:?}");
    for requirement in &selector.requirements {
        let only = FieldSelector { requirements: vec![requirement.clone()] };
        assert_eq!(only.matches_by(|_| requirement.value.clone()), requirement.equal);
    }
});
