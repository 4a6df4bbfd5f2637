use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn what_is_written_arrives_in_order_however_much_it_is() {
    for streams in [true, false] {
        let (near, mut far) = duplex(100);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all)
        });
        let mut near = Coalesced::new(near, streams);
        let mut expected = Vec::new();
        for number in 0..2_000u32 {
            let part = number.to_string().repeat(20);
            near.write_all(part.as_bytes()).await.unwrap();
            expected.extend_from_slice(part.as_bytes());
            if number % 700 == 0 {
                near.flush().await.unwrap();
            }
        }
        near.shutdown().await.unwrap();
        assert!(reader.await.unwrap().unwrap() == expected);
    }
}

#[tokio::test]
async fn others_have_their_turn_before_the_first_byte_is_sent() {
    let mut written = Writes(Vec::new());
    let mut near = Coalesced::new(&mut written, true);
    let mut context = Context::from_waker(std::task::Waker::noop());
    near.write_all(b"one").await.unwrap();
    assert!(Pin::new(&mut near).poll_flush(&mut context).is_pending());
    near.write_all(b"two").await.unwrap();
    assert!(Pin::new(&mut near).poll_flush(&mut context).is_ready());
    assert_eq!(written.0, [b"onetwo"]);
}

/// Each write by itself.
struct Writes(Vec<Vec<u8>>);

impl AsyncWrite for Writes {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
