//! x.
use holdfast_lifetimes::{Policy, scenario};
fn main() {
    for row in scenario::rows::ROWS.iter().chain(scenario::demonstrations::DEMONSTRATIONS) {
        print!("{:5}", row.row);
        for p in Policy::ALL { print!("{:11} ", scenario::play(row, p.rules()).cell()); }
        println!();
        if std::env::args().len()>1 { for p in Policy::ALL { println!("      {:10} {}", p.rules().short, scenario::play(row, p.rules()).sentence()); } }
    }
}
