//! The library's policies and the gateway give the same answers for the same reasons.

use std::collections::BTreeMap;

#[test]
fn the_library_says_what_the_gateway_says() {
    let ours: BTreeMap<_, _> = mainstay_core::Reason::ALL.iter().map(|reason| (reason.code(), reason)).collect();
    for reason in mainstay_policy::Reason::ALL {
        let same = ours.get(reason.code()).unwrap_or_else(|| panic!("{reason} is not in the list of reasons"));
        assert_eq!(reason.status().as_u16(), same.status(), "{reason}");
        assert_eq!(reason.retryable(), same.retryable(), "{reason}");
    }
}
