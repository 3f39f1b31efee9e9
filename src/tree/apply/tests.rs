//! Txns applied in order, twice, and over trees that hold later effects.

use super::*;
use crate::base::Zxid;

#[test]
fn the_observed_digest_after_a_create_is_reached() {
    let mut tree = Tree::new();
    let body = TxnBody::Create(CreateTxn {
        path: "/a".to_owned(),
        data: Some(bytes::Bytes::from_static(b"d")),
        acl: Acl::open(),
        kind: CreateKind::Create { ephemeral: false },
        parent_cversion: 1,
    });
    let header =
        TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(0x1_0000_0002), time: 0x1a2_04d1_361c };
    let applied = tree.apply(&Txn { header, body, digest: Some(0x1_5699_3190) });
    assert_eq!((applied.mismatch, tree.digest()), (None, 0x1_5699_3190));
}
