use super::*;

fn ike_round(ours: &IkeOffer, theirs: &IkeOffer, guess: Option<KeMethod>) -> Option<IkeSuite> {
    let chosen = theirs.select(&ours.to_wire(None), guess)?;
    let checked = ours.check(std::slice::from_ref(&chosen.answer)).unwrap();
    assert_eq!(checked.suite, chosen.suite);
    Some(chosen.suite)
}

fn esp_round(ours: &EspOffer, theirs: &EspOffer, guess: Option<KeMethod>) -> Option<EspChosen> {
    let mut chosen = theirs.select(&ours.to_wire(0x1001), guess)?;
    assert_eq!(chosen.peer_spi, 0x1001);
    chosen.answer.spi = 0x2002_u32.to_be_bytes().to_vec();
    let checked = ours.check(std::slice::from_ref(&chosen.answer)).unwrap();
    assert_eq!(checked.peer_spi, 0x2002);
    assert_eq!(
        (checked.suite, checked.sequence, checked.ke, &checked.additional),
        (chosen.suite, chosen.sequence, chosen.ke, &chosen.additional)
    );
    Some(chosen)
}

#[test]
fn defaults_agree_on_the_best() {
    let offer = IkeOffer::default();
    let suite = ike_round(&offer, &offer, offer.guess()).unwrap();
    assert_eq!(suite.to_string(), "aes-gcm-256/prf-hmac-sha256/Curve25519+ML-KEM-768");
    let chosen = esp_round(&EspOffer::default(), &EspOffer::default(), Some(KeMethod::X25519)).unwrap();
    assert_eq!(
        (chosen.suite, chosen.sequence, chosen.ke),
        (Suite::AesGcm256, SequenceNumbers::Extended, Some(KeMethod::X25519))
    );
}

#[test]
fn the_key_exchange_that_has_begun_goes_on_if_it_may() {
    let offer = IkeOffer::default();
    for (guess, expected) in [
        (Some(KeMethod::P384), KeMethod::P384),
        (Some(KeMethod::MODP2048), KeMethod::X25519),
        (None, KeMethod::X25519),
    ] {
        assert_eq!(ike_round(&offer, &offer, guess).unwrap().ke, expected);
    }
}

#[test]
fn additional_exchanges_are_left_out_for_who_cannot_do_them() {
    let (full, plain) = (IkeOffer::default(), IkeOffer::default().without_additional());
    assert_eq!(plain.0.len(), 2);
    for (ours, theirs) in [(&full, &plain), (&plain, &full), (&plain, &plain)] {
        assert!(ike_round(ours, theirs, None).unwrap().additional.is_empty());
    }
    let mut required = full.clone();
    required.0.truncate(1);
    required.0[0].additional = vec![vec![KeMethod::MLKEM768]];
    assert_eq!(ike_round(&required, &full, None).unwrap().additional, [KeMethod::MLKEM768]);
    assert!(ike_round(&required, &plain, None).is_none());
    assert!(required.without_additional().0.is_empty());
}

#[test]
fn no_key_exchange_is_carried_out_twice() {
    let mut offer = IkeOffer::default();
    offer.0[0].additional = vec![vec![KeMethod::X25519, KeMethod::P256, KeMethod::NONE]; 2];
    let suite = ike_round(&offer, &offer, None).unwrap();
    assert_eq!((suite.ke, suite.additional), (KeMethod::X25519, vec![KeMethod::P256]));
}

#[test]
fn aead_and_cbc_never_share_a_proposal() {
    for proposal in IkeOffer::default().to_wire(None).iter().chain(&EspOffer::default().to_wire(1)) {
        let aead = |transform: Transform| transform.id >= EncryptionId::AES_GCM_16.0;
        let ciphers: Vec<bool> = proposal.of(TransformType::ENCR).map(aead).collect();
        assert!(ciphers.iter().all(|aead| *aead == ciphers[0]), "{proposal:?}");
        assert_eq!(proposal.of(TransformType::INTEG).next().is_none(), ciphers[0], "{proposal:?}");
    }
}

#[test]
fn an_aead_with_an_integrity_algorithm_is_refused_and_with_none_taken() {
    let offer = IkeOffer::default().without_additional();
    let mut wire = offer.to_wire(None);
    wire.truncate(1);
    wire[0].transforms.push(Transform::integrity(IntegrityId::HMAC_SHA2_256_128));
    assert!(offer.select(&wire, None).is_none());
    wire[0].transforms.push(Transform::integrity(IntegrityId::NONE));
    let chosen = offer.select(&wire, None).unwrap();
    assert_eq!(chosen.suite.integrity, None);
    assert!(chosen.answer.transforms.contains(&Transform::integrity(IntegrityId::NONE)));
}

#[test]
fn unknown_types_and_attributes_are_refused_with_what_they_came_with() {
    let offer = IkeOffer::default().without_additional();
    let mut wire = offer.to_wire(None);
    wire[0].transforms.push(Transform::new(TransformType(200), 1));
    assert!(!offer.select(&wire, None).unwrap().suite.encryption.is_aead());
    for transform in wire.iter_mut().flat_map(|proposal| &mut proposal.transforms) {
        if transform.kind == TransformType::ENCR {
            transform.key_length = Transform::UNUSABLE;
        }
    }
    assert!(offer.select(&wire, None).is_none());
}

#[test]
fn a_proposal_without_cipher_prf_or_exchange_is_refused() {
    let offer = IkeOffer::default().without_additional();
    for missing in [TransformType::ENCR, TransformType::PRF, TransformType::KE] {
        let mut wire = offer.to_wire(None);
        for proposal in &mut wire {
            proposal.transforms.retain(|transform| transform.kind != missing);
        }
        assert!(offer.select(&wire, None).is_none(), "{missing}");
    }
}

#[test]
fn every_suite_and_length_of_sequence_numbers_can_be_negotiated() {
    let all = EspOffer { suites: Suite::ALL.to_vec(), ..EspOffer::default() };
    for suite in Suite::ALL {
        for sequence in [SequenceNumbers::Extended, SequenceNumbers::Short] {
            for ke in [KeMethod::NONE, KeMethod::P256] {
                let only = EspOffer {
                    suites: vec![suite],
                    sequence: vec![sequence],
                    ke: vec![ke],
                    additional: Vec::new(),
                };
                let expected = Some(ke).filter(|ke| *ke != KeMethod::NONE);
                for (ours, theirs) in [(&all, &only), (&only, &all)] {
                    let chosen = esp_round(ours, theirs, None).unwrap();
                    assert_eq!((chosen.suite, chosen.sequence, chosen.ke), (suite, sequence, expected));
                }
            }
        }
    }
}

#[test]
fn a_missing_esn_transform_means_short_numbers() {
    let offer = EspOffer::default();
    let mut wire = offer.to_wire(7);
    for proposal in &mut wire {
        proposal.transforms.retain(|transform| transform.kind != TransformType::ESN);
    }
    assert_eq!(offer.select(&wire, None).unwrap().sequence, SequenceNumbers::Short);
    let strict = EspOffer { sequence: vec![SequenceNumbers::Extended], ..offer };
    assert!(strict.select(&wire, None).is_none());
}

#[test]
fn the_first_child_has_no_key_exchange_whatever_is_offered() {
    let offer = EspOffer::default();
    let kinds: Vec<_> = offer.without_ke().to_wire(1).into_iter().flat_map(|p| p.transforms).collect();
    assert!(kinds.iter().all(|transform| transform.kind != TransformType::KE));
    let strange = EspOffer { ke: vec![KeMethod::MODP2048], ..offer.clone() };
    let chosen = offer.select_without_ke(&strange.to_wire(1)).unwrap();
    assert_eq!(chosen.ke, None);
    assert!(chosen.answer.of(TransformType::KE).next().is_none());
    assert!(offer.select(&strange.to_wire(1), None).is_none());
}

#[test]
fn answers_that_are_no_choice_from_the_offer_are_refused() {
    let offer = IkeOffer::default();
    let good = offer.select(&offer.to_wire(None), None).unwrap().answer;
    let refused = |change: &dyn Fn(&mut Proposal)| {
        let mut answer = good.clone();
        change(&mut answer);
        offer.check(&[answer]).unwrap_err()
    };
    assert_eq!(offer.check(&[]).unwrap_err(), BadAnswer::Proposals { found: 0 });
    assert_eq!(offer.check(&[good.clone(), good.clone()]).unwrap_err(), BadAnswer::Proposals { found: 2 });
    assert_eq!(refused(&|answer| answer.number = 0), BadAnswer::Number { found: 0, last: 3 });
    assert_eq!(refused(&|answer| answer.number = 4), BadAnswer::Number { found: 4, last: 3 });
    assert_eq!(refused(&|answer| answer.number = 3), BadAnswer::NotOffered { number: 3 });
    assert_eq!(refused(&|answer| answer.protocol = Protocol::ESP), BadAnswer::NotOffered { number: 1 });
    let second = Transform::prf(PrfId::HMAC_SHA2_384);
    assert_eq!(refused(&|answer| answer.transforms.push(second)), BadAnswer::Several(TransformType::PRF));
    let weak = Transform::key_exchange(KeMethod::MODP1024);
    let weaken = |answer: &mut Proposal| {
        answer.transforms.retain(|transform| transform.kind != TransformType::KE);
        answer.transforms.push(weak);
    };
    assert_eq!(refused(&weaken), BadAnswer::NotOffered { number: 1 });
}

#[test]
fn spis_travel_with_the_proposals_of_replacements() {
    let offer = IkeOffer::default();
    let chosen = offer.select(&offer.to_wire(Some(IkeSpi(7))), None).unwrap();
    assert_eq!(chosen.peer_spi, Some(IkeSpi(7)));
    let esp = EspOffer::default();
    let answer = esp.select(&esp.to_wire(1), None).unwrap().answer;
    assert_eq!(esp.check(&[answer]).unwrap_err(), BadAnswer::Spi { found: 0, expected: 4 });
}
