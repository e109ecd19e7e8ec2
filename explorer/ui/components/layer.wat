;; One layer of a network for one image: dense, convolution and transposed convolution alike.
;;
;;   y[p, o] = max(floor, b[o] + sum over taps t of p, sum over i: x[t.x + i] * w[t.w + i * n_out + o])
;;
;; An output pixel p is a sum of taps: places in the input (n_in channels, contiguous) with the slice
;; (n_in, n_out) of the weights that meets them. A dense layer is one pixel with one tap. Thirty-two output
;; channels are kept in registers at once, then the rest by fours; n_out is a multiple of four.
;; All arguments are bytes. taps: for each pixel its number of taps, then for each tap the offsets t.x and t.w.
(module
  (memory (import "env" "memory") 1)
  (func (export "layer")
    (param $x i32) (param $w i32) (param $b i32) (param $y i32) (param $taps i32)
    (param $n_pixels i32) (param $in_bytes i32) (param $out_bytes i32) (param $lowest f32)
    (local $count i32) (local $c i32) (local $t i32) (local $k i32)
    (local $xi i32) (local $wi i32) (local $end i32) (local $v v128) (local $floor v128)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local $a4 v128) (local $a5 v128) (local $a6 v128) (local $a7 v128)
    (local.set $floor (f32x4.splat (local.get $lowest)))
    (loop $pixel
      (local.set $count (i32.load (local.get $taps)))
      (local.set $taps (i32.add (local.get $taps) (i32.const 4)))
      (local.set $c (i32.const 0))
      (block $no_wide
        (loop $wide
          (br_if $no_wide (i32.gt_u (i32.add (local.get $c) (i32.const 128)) (local.get $out_bytes)))
          (local.set $a0 (v128.load offset=0 (i32.add (local.get $b) (local.get $c))))
          (local.set $a1 (v128.load offset=16 (i32.add (local.get $b) (local.get $c))))
          (local.set $a2 (v128.load offset=32 (i32.add (local.get $b) (local.get $c))))
          (local.set $a3 (v128.load offset=48 (i32.add (local.get $b) (local.get $c))))
          (local.set $a4 (v128.load offset=64 (i32.add (local.get $b) (local.get $c))))
          (local.set $a5 (v128.load offset=80 (i32.add (local.get $b) (local.get $c))))
          (local.set $a6 (v128.load offset=96 (i32.add (local.get $b) (local.get $c))))
          (local.set $a7 (v128.load offset=112 (i32.add (local.get $b) (local.get $c))))
          (local.set $t (local.get $taps))
          (local.set $k (local.get $count))
          (block $no_taps
            (br_if $no_taps (i32.eqz (local.get $count)))
            (loop $tap
              (local.set $xi (i32.add (local.get $x) (i32.load (local.get $t))))
              (local.set $wi (i32.add (i32.add (local.get $w) (i32.load offset=4 (local.get $t))) (local.get $c)))
              (local.set $end (i32.add (local.get $xi) (local.get $in_bytes)))
              (loop $channel
                (local.set $v (v128.load32_splat (local.get $xi)))
                (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $v) (v128.load offset=0 (local.get $wi)))))
                (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $v) (v128.load offset=16 (local.get $wi)))))
                (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (local.get $v) (v128.load offset=32 (local.get $wi)))))
                (local.set $a3 (f32x4.add (local.get $a3) (f32x4.mul (local.get $v) (v128.load offset=48 (local.get $wi)))))
                (local.set $a4 (f32x4.add (local.get $a4) (f32x4.mul (local.get $v) (v128.load offset=64 (local.get $wi)))))
                (local.set $a5 (f32x4.add (local.get $a5) (f32x4.mul (local.get $v) (v128.load offset=80 (local.get $wi)))))
                (local.set $a6 (f32x4.add (local.get $a6) (f32x4.mul (local.get $v) (v128.load offset=96 (local.get $wi)))))
                (local.set $a7 (f32x4.add (local.get $a7) (f32x4.mul (local.get $v) (v128.load offset=112 (local.get $wi)))))
                (local.set $wi (i32.add (local.get $wi) (local.get $out_bytes)))
                (local.set $xi (i32.add (local.get $xi) (i32.const 4)))
                (br_if $channel (i32.lt_u (local.get $xi) (local.get $end))))
              (local.set $t (i32.add (local.get $t) (i32.const 8)))
              (local.set $k (i32.sub (local.get $k) (i32.const 1)))
              (br_if $tap (local.get $k))))
          (v128.store offset=0 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a0) (local.get $floor)))
          (v128.store offset=16 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a1) (local.get $floor)))
          (v128.store offset=32 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a2) (local.get $floor)))
          (v128.store offset=48 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a3) (local.get $floor)))
          (v128.store offset=64 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a4) (local.get $floor)))
          (v128.store offset=80 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a5) (local.get $floor)))
          (v128.store offset=96 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a6) (local.get $floor)))
          (v128.store offset=112 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a7) (local.get $floor)))
          (local.set $c (i32.add (local.get $c) (i32.const 128)))
          (br $wide)))
      (block $no_narrow
        (loop $narrow
          (br_if $no_narrow (i32.ge_u (local.get $c) (local.get $out_bytes)))
          (local.set $a0 (v128.load offset=0 (i32.add (local.get $b) (local.get $c))))
          (local.set $t (local.get $taps))
          (local.set $k (local.get $count))
          (block $no_taps
            (br_if $no_taps (i32.eqz (local.get $count)))
            (loop $tap
              (local.set $xi (i32.add (local.get $x) (i32.load (local.get $t))))
              (local.set $wi (i32.add (i32.add (local.get $w) (i32.load offset=4 (local.get $t))) (local.get $c)))
              (local.set $end (i32.add (local.get $xi) (local.get $in_bytes)))
              (loop $channel
                (local.set $v (v128.load32_splat (local.get $xi)))
                (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $v) (v128.load offset=0 (local.get $wi)))))
                (local.set $wi (i32.add (local.get $wi) (local.get $out_bytes)))
                (local.set $xi (i32.add (local.get $xi) (i32.const 4)))
                (br_if $channel (i32.lt_u (local.get $xi) (local.get $end))))
              (local.set $t (i32.add (local.get $t) (i32.const 8)))
              (local.set $k (i32.sub (local.get $k) (i32.const 1)))
              (br_if $tap (local.get $k))))
          (v128.store offset=0 (i32.add (local.get $y) (local.get $c)) (f32x4.max (local.get $a0) (local.get $floor)))
          (local.set $c (i32.add (local.get $c) (i32.const 16)))
          (br $narrow)))
      (local.set $taps (i32.add (local.get $taps) (i32.shl (local.get $count) (i32.const 3))))
      (local.set $y (i32.add (local.get $y) (local.get $out_bytes)))
      (local.set $n_pixels (i32.sub (local.get $n_pixels) (i32.const 1)))
      (br_if $pixel (local.get $n_pixels))))
)
