//! The receipt as a flow: every packet from the interface to the file, and where each other one
//! left. What leaves a stage and what stays are drawn to one scale; the table has the same figures.

import type { Account, Ledger, Receipt } from '../api'
import { bytes, count, counted } from '../format'
import { Badge } from './basics'

/** Packets that went no further. */
interface Leaving { name: string; packets: number; isLoss?: boolean }
interface Stage { name: string; packets: number; leaving: Leaving[] }

export function Flow({ receipt }: { receipt: Receipt }) {
  const stages = stagesOf(receipt)
  return (
    <div class="receipt">
      <p class="receipt-verdict">
        {receipt.lost > 0 ? <Badge tone="bad">{counted(receipt.lost, 'packet')} lost</Badge> : receipt.is_final ? <Badge tone="good">Nothing was lost</Badge> : <Badge tone="warn">Not final: some hosts have not told their account</Badge>}
        {receipt.unaccounted !== 0 && <Badge tone="bad">{count(receipt.unaccounted)} unaccounted for: a fault of overtap</Badge>}
        <span>{counted(receipt.total.written, 'packet')} kept at the hosts, {bytes(receipt.total.written_bytes)}{receipt.total.sliced > 0 && <>, {count(receipt.total.sliced)} of them sliced</>}.</span>
      </p>
      <Drawn stages={stages} />
      <table class="figures">
        <caption class="unseen">What became of every packet</caption>
        <thead><tr><th scope="col">Stage</th><th scope="col" class="number">Packets</th></tr></thead>
        <tbody>
          {stages.flatMap((stage, i) => [
            <tr key={stage.name} class="stage"><th scope="row">{stage.name}</th><td class="number">{count(stage.packets)}</td></tr>,
            ...stage.leaving.filter((leaving) => leaving.packets > 0).map((leaving) => (
              <tr key={`${i}${leaving.name}`} class={leaving.isLoss && leaving.packets ? 'loss' : ''}>
                <th scope="row">− {leaving.name}</th><td class="number">{count(leaving.packets)}</td>
              </tr>
            )),
          ])}
        </tbody>
      </table>
      <p class="figures-rest">None: {stages.flatMap((stage) => stage.leaving).filter((leaving) => leaving.packets === 0).map((leaving) => leaving.name).join(', ')}.</p>
    </div>
  )
}

function Drawn({ stages }: { stages: Stage[] }) {
  const most = Math.max(1, ...stages.map((stage) => stage.packets))
  const high = (packets: number) => (packets === 0 ? 0 : Math.max(1.5, (packets / most) * BAND))
  const step = (WIDTH - 150) / Math.max(1, stages.length - 1)
  const branches = stages.map((stage) => stage.leaving.filter((leaving) => leaving.packets > 0))
  const height = TOP + BAND + 26 + Math.max(0, ...branches.map((some) => some.length)) * 34
  return (
    <svg class="flow" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={stages.map((stage) => `${stage.name}: ${count(stage.packets)}`).join('; ')}>
      {stages.map((stage, i) => {
        const x = 6 + i * step
        const next = stages[i + 1]
        let y = TOP + (next ? high(next.packets) : 0)
        return (
          <g key={stage.name}>
            {next && next.packets > 0 && <path class="flow-band" d={`M${x + BAR} ${TOP}H${x + step}v${high(next.packets)}H${x + BAR}z`} />}
            {branches[i]!.map((leaving, k) => {
              const slice = Math.min(20, high(leaving.packets))
              const from = Math.min(y + slice / 2, TOP + Math.max(high(stage.packets), 2) - slice / 2)
              y += slice
              const to = TOP + BAND + 30 + k * 34
              return (
                <g key={leaving.name} class={leaving.isLoss ? 'flow-loss' : 'flow-leaves'}>
                  <path d={`M${x + BAR} ${from}C${x + BAR + 34} ${from} ${x + BAR - 6} ${to} ${x + BAR + 30} ${to}`} stroke-width={Math.max(1.5, slice)} />
                  <text x={x + BAR + 37} y={to - 2}><tspan class="flow-count">{count(leaving.packets)}</tspan><tspan x={x + BAR + 37} dy="13">{leaving.name}</tspan></text>
                </g>
              )
            })}
            <rect class="flow-bar" x={x} y={TOP} width={BAR} height={Math.max(2, high(stage.packets))} rx="2" />
            <text class="flow-name" x={x} y={TOP - 22}>{stage.name}</text>
            <text class="flow-count" x={x} y={TOP - 7}>{count(stage.packets)}</text>
          </g>
        )
      })}
    </svg>
  )
}

function stagesOf(receipt: Receipt): Stage[] {
  const { total } = receipt
  const accounts = receipt.parts.flatMap((part) => part.receipt?.interfaces ?? [])
  const passed = accounts.reduce((sum: number, account: Account) => sum + (account.passed_over ?? 0), 0)
  const stages: Stage[] = []
  if (passed > 0) {
    stages.push({ name: 'At the interfaces', packets: total.received + passed, leaving: [{ name: 'passed over by the kernel filter', packets: passed }] })
  }
  stages.push({ name: 'Seen by overtap', packets: total.received, leaving: leavingOf(total) })
  stages.push({ name: 'In the capture', packets: total.written, leaving: [] })
  return stages
}

function leavingOf(ledger: Ledger): Leaving[] {
  return [
    { name: 'dropped by the kernel', packets: ledger.kernel_dropped, isLoss: true },
    { name: 'not selected', packets: ledger.not_selected },
    { name: 'of another tenant', packets: ledger.other_tenant },
    { name: 'owner undecidable', packets: ledger.undecidable },
    { name: 'sent by overtap itself', packets: ledger.own_export },
    { name: 'not of the mirror', packets: ledger.not_mirrored },
    { name: 'after the limit', packets: ledger.after_limit },
    { name: 'queue full', packets: ledger.queue_full, isLoss: true },
    { name: 'refused by the disk', packets: ledger.sink_failed, isLoss: true },
  ]
}

const WIDTH = 1000
const TOP = 46
const BAND = 110
const BAR = 12
