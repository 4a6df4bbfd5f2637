use super::*;

#[tokio::test]
async fn a_busy_port_names_its_holder_and_a_free_one() {
    let taken = bind(0).await.unwrap();
    let port = taken.local_addr().unwrap().port();

    let error = bind(port).await.unwrap_err();

    let BindError::Busy { holder, free, .. } = &error else { panic!("{error:?}") };
    assert!(holder.as_ref().unwrap().contains(&format!("pid {}", std::process::id())), "{holder:?}");
    assert_ne!(*free, port);
    assert!(error.to_string().contains(&format!("--api-port {free}")), "{error}");
}

#[test]
fn reads_the_kernel_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1\n\
                 1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1\n";
    assert_eq!(listening_inode(table, 8080), Some(4242));
    assert_eq!(listening_inode(table, 8081), None, "connected, not listening");
}
