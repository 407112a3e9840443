//! A bank: clerks transfer money between accounts, each account under a mutex of its own, while an auditor counts.
//!
//! Whoever needs several accounts locks them in the order of their numbers, so there is no circle of clerks who wait for each other.
//! The auditor locks all of them, and so sees the bank between two transfers: the sum is the same each time. A transfer that finds
//! too little money waits for the account to be filled up, but not for ever.
//!
//! `cargo run --release --example bank -- 1000`

use fibers::sync::{Condvar, Mutex};
use fibers::{Cond, WaitGroup, go};
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "usage: bank [TRANSFERS]\nEach of the clerks makes TRANSFERS transfers (1000 if TRANSFERS is not given).";
const ACCOUNTS: usize = 6;
const CLERKS: usize = 8;
const BALANCE: u64 = 100;
const PATIENCE: Duration = Duration::from_micros(200);

struct Account {
    balance: Mutex<u64>,
    filled: Condvar,
}

struct Bank {
    accounts: Vec<Account>,
}

impl Bank {
    fn new() -> Self {
        let account = || Account {
            balance: Mutex::new(BALANCE),
            filled: Condvar::new(),
        };
        Bank {
            accounts: (0..ACCOUNTS).map(|_| account()).collect(),
        }
    }

    /// Moves money, if there is enough; waits a little if there is not.
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let (source, target) = (&self.accounts[from], &self.accounts[to]);
        {
            let balance = source.balance.lock();
            let (_balance, waited) = source
                .filled
                .wait_timeout_while(balance, PATIENCE, |balance| *balance < amount);
            if waited.timed_out() {
                return false;
            }
        }
        // Both locks, in order. In between somebody may have been faster, so that there is too little again.
        let (first, second) = (from.min(to), from.max(to));
        let mut first = self.accounts[first].balance.lock();
        let mut second = self.accounts[second].balance.lock();
        let (source, balance) = if from < to {
            (&mut *first, &mut *second)
        } else {
            (&mut *second, &mut *first)
        };
        let Some(rest) = source.checked_sub(amount) else {
            return false;
        };
        (*source, *balance) = (rest, *balance + amount);
        target.filled.notify_all();
        true
    }

    /// What there is in all accounts together.
    fn audit(&self) -> u64 {
        let all: Vec<_> = self.accounts.iter().map(|account| account.balance.lock()).collect();
        fibers::yield_now(); // counting takes a while, and nothing changes meanwhile
        all.iter().map(|balance| **balance).sum()
    }
}

/// Moves something somewhere, as often as it is told; returns how many transfers there was not enough money for.
fn clerk(bank: &Bank, number: usize, transfers: usize) -> usize {
    let mut refused = 0;
    for i in 0..transfers {
        let from = (number + i) % ACCOUNTS;
        let to = (from + 1 + i % (ACCOUNTS - 1)) % ACCOUNTS;
        let amount = (i * 37 % 60) as u64;
        refused += usize::from(!bank.transfer(from, to, amount));
    }
    refused
}

#[fibers::main]
fn main() {
    let transfers = fibers_examples::number(USAGE, 1000);
    let (bank, clerks, closing) = (Arc::new(Bank::new()), WaitGroup::new(), Cond::new());
    let auditor = go!(clone(bank, closing); {
        let mut audits = 0;
        while audits == 0 || !closing.is_signalled() {
            assert_eq!(bank.audit(), ACCOUNTS as u64 * BALANCE, "money has appeared or vanished");
            audits += 1;
            fibers::yield_now();
        }
        audits
    });
    let refused = Arc::new(Mutex::new(0));
    for number in 0..CLERKS {
        let (bank, refused) = (bank.clone(), refused.clone());
        clerks.go(move || *refused.lock() += clerk(&bank, number, transfers));
    }
    clerks.wait();
    closing.signal();
    let audits = auditor.join().expect("the books balance");
    eprintln!("{audits} audits; {} transfers came to nothing", refused.lock());
    println!("{} transfers by {CLERKS} clerks", CLERKS * transfers);
    println!("{} in {ACCOUNTS} accounts, as in the beginning", bank.audit());
}
