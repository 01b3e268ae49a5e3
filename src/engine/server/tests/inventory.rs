// SPDX-License-Identifier: GPL-2.0

//! INVENTORY and batches of FREE.

use super::*;

/// Requests a part of the inventory; returns the pages listed and the cursor.
fn list(bench: &mut Bench, client: &Client, cursor: u64, most: u32) -> (Vec<(u64, u64)>, u64) {
    let question = Inventory {
        cursor: cursor.into(),
        max_pages: most.into(),
        reserved: 0.into(),
    };
    let header = client.of(Header::new(Opcode::Inventory));
    let answer = bench.one(client.mac, header, question.as_bytes());
    assert_eq!(answer.header.opcode, Opcode::InventoryReply);
    let (reply, pages) = InventoryReply::read_from_prefix(&answer.payload).unwrap();
    let pages = <[PageVersion]>::ref_from_bytes(pages).unwrap();
    let named = pages.iter().map(|one| (one.page.get(), one.version.get()));
    (named.collect(), reply.cursor.get())
}

#[test]
fn an_inventory_names_the_sessions_pages_each_once() {
    let mut bench = bench(300, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    assert_eq!(list(&mut bench, &me, 0, 30), (vec![], 0));
    for page in 0..200 {
        bench.put(&me, page, page + 1000);
        bench.put(&other, page / 2, 7);
    }
    bench.status(&me, Header::new(Opcode::Free), &free(&[(3, 9999)]));
    let expected: Vec<_> = (0..200)
        .filter(|&page| page != 3)
        .map(|page| (page, page + 1000))
        .collect();
    for most in [1, 7, 80, 5000] {
        let (mut named, mut cursor) = (Vec::new(), 0);
        loop {
            let (some, next) = list(&mut bench, &me, cursor, most);
            assert!(some.len() <= 80.min(most as usize));
            named.extend(some);
            if next == 0 {
                break;
            }
            assert!(next > cursor);
            cursor = next;
        }
        named.sort_unstable();
        assert_eq!(named, expected);
    }
    assert_eq!(list(&mut bench, &me, u64::MAX, 30), (vec![], 0));
    let header = me.of(Header::new(Opcode::Inventory));
    assert_eq!(bench.ask(me.mac, header, &[0; 15]), []);
    assert_eq!(bench.server.counters().bad, 1);
}

#[test]
fn a_batch_of_frees_is_all_or_nothing_in_form() {
    let mut bench = bench(8, NO_QUOTA);
    let me = client(1);
    bench.open(&me);
    bench.put(&me, 1, 1);
    let header = me.of(Header::new(Opcode::Free));
    let most = free(&[(1, 1); crate::wire::MAX_PAGE_VERSIONS]);
    assert_eq!(bench.status(&me, header, &most), Status::Ok);
    let more = free(&[(1, 9); crate::wire::MAX_PAGE_VERSIONS + 1]);
    assert_eq!(bench.ask(me.mac, header, &more), []);
    assert_eq!(bench.ask(me.mac, header, &more[..17]), []);
    assert_eq!(bench.server.counters().bad, 2);
    assert_eq!(bench.get(&me, 1, 1), Some(content(1)));
}
