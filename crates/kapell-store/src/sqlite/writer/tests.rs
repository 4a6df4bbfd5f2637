use super::*;

#[test]
fn sweeps_go_in_chunks_and_wait_for_a_whole_one() {
    // Compacted on demand, swept, the ring's floor; until where.
    let cases = [
        (0, 0, 0, None),
        (0, 0, SWEEP_CHUNK - 1, None),
        (0, 0, SWEEP_CHUNK, Some(SWEEP_CHUNK)),
        (0, 0, 10 * SWEEP_CHUNK, Some(SWEEP_CHUNK)),
        (7, 0, 7, Some(7)),
        (7, 7, 7, None),
        (SWEEP_CHUNK + 7, 0, SWEEP_CHUNK + 7, Some(SWEEP_CHUNK)),
        (SWEEP_CHUNK + 7, SWEEP_CHUNK, SWEEP_CHUNK + 7, Some(SWEEP_CHUNK + 7)),
        (7, 7, SWEEP_CHUNK + 7, Some(SWEEP_CHUNK + 7)),
    ];
    for (compacted, swept, floor, until) in cases {
        assert_eq!(next_sweep(Horizon { compacted, swept }, floor), until, "{compacted} {swept} {floor}");
    }
}
