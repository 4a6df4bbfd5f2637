use futures::stream;
use parking_lot::Mutex;

use super::*;

#[tokio::test]
async fn a_log_that_breaks_is_no_success() {
    let said = Mutex::new(Vec::new());
    let send = async |channel: Channel, piece: Bytes| {
        said.lock().push((channel, piece));
        Ok(())
    };
    let log = |pieces: Vec<io::Result<Bytes>>| stream::iter(pieces);
    let whole = log(vec![Ok("a".into()), Ok("b".into())]);
    assert!(carry_logs(vec![(Channel::Stdout, whole)], send).await.is_ok());
    assert_eq!(said.lock().len(), 2);
    let broken = log(vec![Ok("c".into()), Err(io::Error::other("the disk is broken"))]);
    let outputs = vec![(Channel::Stdout, broken), (Channel::Stderr, log(Vec::new()))];
    let error = carry_logs(outputs, send).await.unwrap_err();
    let outcome = failure(&error);
    assert_eq!(outcome["status"], "Failure");
    assert!(outcome["message"].as_str().unwrap().ends_with("the disk is broken"), "{outcome}");
}
